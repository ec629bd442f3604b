"""Accuracy of parts: every clip in one part of each property, properties of one value left out.

All numbers of an evaluation together: they are of the same clips, failures counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.manifest import ManifestRow, whole_label
from data_prep.status import Status
from pipeline.metrics.baselines import BaselinePrediction
from pipeline.metrics.scoring import (
    EvaluatedClip,
    baseline_scores,
    data_scores,
    is_significantly_lower,
    model_scores,
    slices,
)
from pipeline.storage.predictions import Prediction
from tests.helpers.metrics_samples import LABELS, clips
from tests.helpers.tables import predicted


def _slices(n: int = 240):
    judged = clips(n)
    right = [predicted(clip.prediction, LABELS) == clip.row.label for clip in judged]
    found = slices([c.row for c in judged], [c.prediction for c in judged], right)
    return found, right


def test_parts_add_up_to_all() -> None:
    found, right = _slices()
    assert list(found) == ["has", "length", "weather", "group"]
    for parts in found.values():
        assert sum(part["n"] for part in parts) == 240
        assert sum(part["n"] * part["accuracy"] for part in parts) == pytest.approx(sum(right))
    assert {part["value"] for part in found["has"]} == {"picture and sound", "picture only"}
    lengths = [part["value"] for part in found["length"]]
    assert lengths == ["under 5 s", "5 to 15 s", "15 to 60 s"]  # in order, not by name


def test_a_column_that_names_clips_is_left_out() -> None:
    rows = [ManifestRow(path=f"{k}", label="a", extra={"id": f"clip {k}"}) for k in range(40)]
    said = [Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0) for row in rows]
    assert slices(rows, said, [True] * 40) == {}


def test_an_empty_value_and_an_unknown_length_are_called_so() -> None:
    rows = [
        ManifestRow(path=f"{k}", label="a", extra={"sky": "" if k % 2 else "blue"})
        for k in range(8)
    ]
    said = [
        Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, None if k < 4 else 700.0)
        for k, row in enumerate(rows)
    ]
    found = slices(rows, said, [True] * 8)
    assert [part["value"] for part in found["sky"]] == ["blue", "(empty)"]
    assert [part["value"] for part in found["length"]] == ["600 s and longer", "unknown"]


def test_a_users_column_of_a_name_of_ours_stands_beside_it() -> None:
    rows = [ManifestRow(path=f"{k}", label="a", extra={"length": "xy"[k % 2]}) for k in range(8)]
    said = [
        Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0 + k)
        for k, row in enumerate(rows)
    ]
    found = slices(rows, said, [True] * 8)
    assert [part["value"] for part in found["column length"]] == ["x", "y"]
    assert len(found["length"]) == 2


def _weaker(share: float) -> bool:
    """Whether 100 rainy clips, right in this share, are called weaker than 100 others at 0.9."""
    rows = [
        ManifestRow(path=f"{k}", label="a", extra={"sky": "rain" if k < 100 else "sun"})
        for k in range(200)
    ]
    said = [Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0) for row in rows]
    right = [k % 100 < 100 * (share if k < 100 else 0.9) for k in range(200)]
    found = slices(rows, said, right)
    assert not found["sky"][1]["surely_weaker"]
    return found["sky"][0]["surely_weaker"]


def test_a_part_is_surely_weaker_only_by_more_than_chance() -> None:
    assert _weaker(0.5)
    assert not _weaker(0.85)


@pytest.mark.parametrize("n_others", [5, 20, 100])
def test_equal_parts_are_seldom_called_weaker(n_others: int) -> None:
    """A part of nearly all clips beside a few others, that happen to be right, too."""
    draw = np.random.default_rng(0)
    called = 0
    for _ in range(300):
        right = draw.random(200) < 0.9
        rest = [str(k) for k in range(200)]
        called += is_significantly_lower(
            right[n_others:], rest[n_others:], right[:n_others], rest[:n_others], 0.95
        )
    assert called <= 0.05 * 300


def test_more_parts_make_each_less_sure() -> None:
    """Of a pair of parts a difference may be sure that is chance among ninety."""
    right = np.array([k % 10 < 7 for k in range(100)])
    others = np.array([k % 10 < 9 for k in range(100)])
    own, rest = [f"a{k}" for k in range(100)], [f"b{k}" for k in range(100)]
    assert is_significantly_lower(right, own, others, rest, 1 - 0.05 / 2)
    assert not is_significantly_lower(right, own, others, rest, 1 - 0.05 / 9000)
    assert not is_significantly_lower(
        right, own, others, ["one", "two"] * 50, 0.95
    )  # of too few groups
    assert not is_significantly_lower(right, own, others[:0], [], 0.95)


def _of_columns(columns: dict[str, list[str]], right: list[bool]) -> dict:
    n = len(right)
    rows = [
        ManifestRow(path=f"{k}.wav", label="a", group=f"g{k}",
                    extra={name: values[k] for name, values in columns.items()})
        for k in range(n)
    ]  # fmt: skip
    said = [Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0) for row in rows]
    return slices(rows, said, right)


def test_numbers_are_put_into_ranges() -> None:
    depth = [str(k / 10) for k in range(120)]
    found = _of_columns({"depth_cm": depth}, [k >= 30 for k in range(120)])
    parts = found["depth_cm"]
    assert [part["value"] for part in parts] == [
        "0 to under 3", "3 to under 6", "6 to under 8.9", "8.9 to 11.9",
    ]  # fmt: skip
    assert [part["n"] for part in parts] == [30, 30, 29, 31]
    assert parts[0]["accuracy"] == 0
    assert parts[0]["surely_weaker"]


def test_values_of_few_clips_stand_together_and_do_not_hide_the_worst() -> None:
    """0 of 10 with one probe among 131 clips, beside a column of forty values of three clips."""
    probe = ["linear"] * 10 + ["convex"] * 121
    operator = [f"op{k % 40}" for k in range(131)]
    right = [False] * 10 + [k % 4 != 0 for k in range(121)]
    found = _of_columns({"probe": probe, "operator": operator}, right)
    assert {part["value"] for part in found["probe"] if part["surely_weaker"]} == {"linear"}
    assert "operator" not in found  # all of its values are rare: it names people's days, not kinds
    mixed = [f"op{k}" if k < 9 else "many" for k in range(131)]
    parts = _of_columns({"operator": mixed}, right)["operator"]
    assert [(part["value"], part["n"]) for part in parts] == [("many", 122), ("other values", 9)]


def test_the_kind_of_file_is_a_property() -> None:
    rows = [ManifestRow(path=f"{k}.{'mp4' if k % 2 else 'avi'}", label="a") for k in range(20)]
    said = [Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0) for row in rows]
    found = slices(rows, said, [True] * 20)
    assert [part["value"] for part in found["file type"]] == ["avi", "mp4"]


def test_numbers_are_of_the_same_clips() -> None:
    judged = clips(120, 24)
    found = model_scores(judged, LABELS)
    right = np.array([predicted(c.prediction, LABELS) == c.row.label for c in judged])
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["n_groups"] == 24
    assert found["groups_known"]
    whole = max(found["coverage"], key=lambda point: point["coverage"])
    assert whole["accuracy"] == pytest.approx(right.mean())
    assert found["calibration"]["accuracy"] == pytest.approx(right.mean())


def test_clips_that_are_their_own_groups_have_no_known_ones() -> None:
    judged = [replace(c, row=replace(c.row, group=c.row.path)) for c in clips(30)]
    assert not model_scores(judged, LABELS)["groups_known"]
    bare = [replace(c, row=replace(c.row, group="")) for c in clips(30)]
    found = model_scores(bare, LABELS)
    assert (found["groups_known"], found["n_groups"]) == (False, 30)


def test_clips_of_no_group_among_others_are_counted() -> None:
    judged = clips(40, 8)
    bare = [
        replace(c, row=replace(c.row, group="" if k else c.row.path))
        for k, c in enumerate(judged[:3])
    ]
    found = model_scores([*bare, *judged[3:]], LABELS)
    assert (found["groups_known"], found["n_without_group"]) == (True, 3)
    assert model_scores(judged, LABELS)["n_without_group"] == 0


def test_parts_of_one_file_are_of_one_group_and_the_file_names_it() -> None:
    judged = clips(12)
    parts = [
        replace(c, row=replace(c.row, path="/v/long.mp4", group="", start_s=k, end_s=k + 1))
        for k, c in enumerate(judged[:8])
    ]
    rest = [replace(c, row=replace(c.row, group="")) for c in judged[8:]]
    found = model_scores([*parts, *rest], LABELS)
    assert (found["groups_known"], found["n_groups"], found["n_without_group"]) == (True, 5, 4)
    assert found["largest_group"] == {"name": "long.mp4", "n": 8}


@pytest.mark.parametrize(("n_sure", "told"), [(9, False), (10, True)])
def test_how_right_it_is_where_it_is_sure_needs_ten_clips(n_sure: int, told: bool) -> None:
    judged = [*clips(n_sure, sure=(0.95, 0.99)), *clips(50, sure=(0.4, 0.6))]
    assert (model_scores(judged, LABELS)["sure"] is not None) == told


def test_failures_are_counted_by_label_and_status() -> None:
    judged = clips(12)
    row = judged[0].row
    failed = EvaluatedClip(row, Prediction(row.path, Status.UNREADABLE, "no"), None)
    found = data_scores([*judged, failed], LABELS, whole_label)
    assert found["statuses"] == {"ok": 12, "unreadable": 1}
    assert found["per_label"]["cat"]["failed"] == 1
    assert found["per_label"]["cat"]["clips"] == 4
    assert found["per_label"]["dog"]["with_sound"] == sum(
        bool(c.prediction.has_audio) for c in judged if c.row.label == "dog"
    )


def test_a_baseline_that_names_one_label_says_which() -> None:
    truth = ["cat", "dog", "owl", "cat"] * 5
    groups = [str(k) for k in range(20)]
    answers = {
        "majority": BaselinePrediction(["cat"] * 20),
        "logistic_mean": BaselinePrediction(["cat", "dog"] * 10, 0.1),
    }
    found = baseline_scores(answers, truth, truth, groups, LABELS)
    assert found["majority"]["always"] == "cat"
    assert "always" not in found["logistic_mean"]
    assert found["logistic_mean"]["regularisation_c"] == 0.1
    assert found["majority"]["difference"]["mean"] == pytest.approx(0.5)
