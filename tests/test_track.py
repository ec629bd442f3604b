import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.media.track import Track, cut_at_breaks

STEP = 0.04


def track(*starts_s: float, duration_s: float = STEP) -> Track:
    made = Track()
    for start_s in starts_s:
        made.add(start_s, start_s, duration_s)
    return made


def run(begin_s: float, n: int) -> list[float]:
    return [begin_s + i * STEP for i in range(n)]


def test_a_whole_clock() -> None:
    made = track(*run(1.0, 100))
    assert (made.start_s, made.end_s) == (1.0, pytest.approx(5.0))
    assert (made.gaps_s, made.broken, made.missing_s) == ([], "", 0.0)


def test_a_jump_back_ends_the_track_and_counts_what_follows() -> None:
    made = track(*run(0, 100), *run(0, 50))
    assert made.end_s == pytest.approx(4.0)
    assert "go back from 4.0 to 0.0 s" in made.broken
    assert made.missing_s == pytest.approx(2.0)


def test_jitter_is_no_jump() -> None:
    assert not track(0.0, 0.5, 0.3, 0.7, 0.6).broken


@given(st.floats(2, 1e6), st.integers(1, 5))
def test_a_few_wild_times_are_left_out(wild_s: float, n: int) -> None:
    made = track(*run(0, 50), *(4.0 + wild_s + i for i in range(n)), *run(2.0, 50))
    assert not made.broken
    assert made.outliers == n
    assert made.end_s == pytest.approx(4.0)
    assert made.lost_s == pytest.approx(n * STEP)
    assert made.gaps_s == []


def test_a_time_far_from_its_decode_time_is_wild() -> None:
    made = track(*run(0, 50))
    assert not made.add(5000.0, 2.0, STEP)
    assert made.end_s == pytest.approx(2.0)


def test_a_shared_jump_of_hours_ends_both_tracks() -> None:
    picture = track(*run(0, 75), *run(93_603, 75))
    sound = track(*run(0, 74), *run(93_603.1, 75))
    cut_at_breaks([picture, sound])
    assert picture.end_s == pytest.approx(3.0)
    assert sound.end_s == pytest.approx(2.96)
    assert picture.missing_s == pytest.approx(3.0)
    assert "jump from" in picture.broken


def test_one_track_may_pause_for_long() -> None:
    """A slide that stands for an hour while somebody talks."""
    picture = track(0.0, 3600.0)
    sound = track(*[i * 1.0 for i in range(3700)], duration_s=1.0)
    cut_at_breaks([picture, sound])
    assert not picture.broken
    assert picture.end_s == 3600 + STEP


def test_a_declared_length_that_is_not_reached_is_missing() -> None:
    made = track(*run(0, 100))
    made.declared_s = 10.0
    assert made.missing_s == pytest.approx(6.0)
    made.declared_s = 4.3  # headers of whole files are that imprecise
    assert made.missing_s == 0.0
    made.is_suspect = True
    assert made.missing_s == pytest.approx(0.3)
