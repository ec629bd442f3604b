"""Numbers as people read them."""

from __future__ import annotations

import pytest

from pipeline import text_format


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.724, "72 %"), (1.0, "100 %"), (0.0, "0 %"), (0.9996, "99.9 %"), (1e-5, "0.1 %"),
     (0.997, "99.7 %"), (0.002, "0.2 %")],
)  # fmt: skip
def test_a_share_hides_no_rest(share: float, text: str) -> None:
    assert text_format.percent(share) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.061, "+6"), (-0.061, "−6"), (0.004, "+0.4"), (0.0, "0"), (-0.0001, "0")],
)
def test_points_have_a_sign(difference: float, text: str) -> None:
    assert text_format.points(difference) == text


def test_intervals_are_told_or_their_lack() -> None:
    assert text_format.span([0.604, 0.831]) == "95 % interval 60–83 %"
    assert text_format.span(None) == "too few groups for an interval"
    assert text_format.gain_span({"low": -0.02, "high": 0.1}) == "95 % interval −2 to +10"
    assert text_format.gain_span({"low": None, "high": None}) == "too few groups for an interval"


def test_long_labels_are_cut_and_lists_counted() -> None:
    assert text_format.quoted("x" * 200) == "“" + "x" * 39 + "…”"
    assert text_format.joined(["a"]) == "a"
    assert text_format.joined([]) == ""
    assert text_format.joined(["a", "b", "c"]) == "a, b and c"
    assert text_format.joined(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert text_format.counted(1, "clip") == "1 clip"
    assert text_format.counted(5000, "clip") == "5 000 clips"


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90 s"), (720, "12 minutes"), (12_600, "3.5 hours")]
)
def test_durations(seconds: float, text: str) -> None:
    assert text_format.duration(seconds) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.06, "+6 points"), (0.012, "+1 point"), (-0.01, "−1 point"), (0.004, "+0.4 points")],
)
def test_one_point_is_one(difference: float, text: str) -> None:
    assert text_format.in_points(difference) == text


def test_a_size_has_no_sign() -> None:
    assert text_format.size_in_points(-0.012) == text_format.size_in_points(0.012) == "1 point"
    assert text_format.size_in_points(0.2) == "20 points"
