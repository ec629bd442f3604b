"""An audit in sentences: each rule where it applies and where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from data_prep.manifest import ManifestRow
from pipeline.leak_audit.audit_result import Audit
from pipeline.leak_audit.audit_text import (
    few_left,
    judged_leaking,
    leaks,
    optimism_text,
    proposal,
    summary_text,
)
from pipeline.leak_audit.findings import Finding, Kind
from pipeline.metrics.metrics_schema import SplitOptimism


def _row(name: str, label: str, group: str, split: str) -> ManifestRow:
    return ManifestRow(path=name, id=name, label=label, group=group, split=split)


def _audit(*findings: Finding, flattery: SplitOptimism | None = None) -> dict[str, Any]:
    rows = [row for finding in findings for row in (finding.first, finding.second)]
    groups = {row.id: rows[0].group for row in rows} if findings else {}
    return Audit(rows, list(findings), groups, flattery, 40).summary()


def test_nothing_found_is_said() -> None:
    assert summary_text(_audit()) == [
        "40 clips compared with each other: no two clips of different groups or labels share a "
        "recording."
    ]


def test_where_nothing_was_found_an_evaluation_tells_of_the_clips_judged_alone() -> None:
    summary = _audit() | {"judged": {"n": 12, "n_leaking": 0, "example": None}}
    assert summary_text(summary) == [
        "None of the 12 evaluated clips shares a recording with a clip of another group or label "
        "(40 compared)."
    ]
    assert (
        "None of the 2 evaluated clips outside the training set shares"
        in summary_text(summary | {"trained_on": 10})[0]
    )
    assert summary_text(summary | {"trained_on": 12}) == [
        "The model was trained on all evaluated clips."
    ]


def test_where_groups_hold_together_already_the_split_is_to_be_drawn_anew() -> None:
    one = Finding(Kind.SAME_BYTES, _row("1", "a", "g", "train"), _row("2", "a", "g", "test"))
    summary = _audit(one)
    again = "The clips are in one group already: clear the split column of manifest.csv to redraw"
    assert proposal(summary).startswith(again)
    assert proposal(summary, accepted=True).startswith(
        "There are no groups to merge, so manifest.csv"
    )
    assert again in proposal(summary, accepted=True)
    assert "clear the fold column" in proposal(summary | {"across_folds": True})
    judged = {"n": 1, "n_leaking": 1, "example": None}
    assert proposal(summary | {"judged": judged}) == proposal(_audit()) == ""


def test_one_clip_is_compared_with_none() -> None:
    assert summary_text(_audit() | {"n_compared": 1}) == [
        "Only 1 clip: there is nothing to compare it with."
    ]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (_row("2", "a", "h", "test"), "divided between splits or folds"),
        (_row("2", "b", "g", "train"), "different labels"),
        (_row("2", "a", "h", "train"), "another split or other folds could separate them"),
    ],
)
def test_each_kind_of_crossing_has_its_sentence_and_no_other(
    second: ManifestRow, says: str
) -> None:
    sentences = " ".join(
        summary_text(_audit(Finding(Kind.SAME_BYTES, _row("1", "a", "g", "train"), second)))
    )
    others = {"divided between splits", "different labels", "another split or other folds"} - {says}
    assert says in sentences
    assert all(other not in sentences for other in others if other not in says)
    assert "for example 1 and 2: the same file" in sentences


def test_what_to_do_follows_what_was_done() -> None:
    leak = Finding(Kind.SAME_BYTES, _row("1", "a", "g", "train"), _row("2", "a", "h", "test"))
    assert "--accept writes them" in " ".join(summary_text(_audit(leak)))
    assert "2 groups become 1. Clear its split column" in " ".join(
        summary_text(_audit(leak), accepted=True)
    )
    assert "Clear its fold column" in " ".join(
        summary_text(_audit(leak) | {"across_folds": True}, accepted=True)
    )


@pytest.mark.parametrize(
    ("random", "n_clips", "says"),
    [
        (0.9, 100, "is optimistic by 20 points"),
        (0.8, 100, "looks optimistic by 10 points, which may be chance"),
        (0.8, 1000, "is optimistic by 10 points"),
        (0.72, 1000, "is hardly optimistic"),
        (0.72, 100, "100 clips are too few to tell"),
        (0.6, 100, "100 clips are too few to tell"),
        (0.6, 1000, "is hardly optimistic"),
    ],
)
def test_flattery_is_told_by_its_size(random: float, n_clips: int, says: str) -> None:
    assert says in optimism_text(
        _audit(flattery=SplitOptimism(random=random, grouped=0.7, n_clips=n_clips, n_groups=10))
    )
    assert optimism_text(_audit()) == ""


def test_an_evaluation_names_no_file_that_it_did_not_write() -> None:
    summary = _leak("train", "test")
    assert "audit/groups.csv" in proposal(summary)
    summary["judged"] = {"n": 2, "n_leaking": 1, "example": None}
    assert proposal(summary) == (
        "`framewave audit` proposes groups that keep such clips together (2 groups become 1)."
    )


def _leak(*splits: str) -> dict[str, Any]:
    ends = [_row(str(k), "a", f"g{k}", split) for k, split in enumerate(splits)]
    return _audit(Finding(Kind.SAME_BYTES, *ends))


def test_an_evaluation_tells_how_many_of_its_clips_are_touched() -> None:
    summary = _leak("train", "test")
    assert judged_leaking(summary) == ""  # an audit alone knows of no clip judged
    assert "scores are too high" in leaks(summary)
    example = {"kind": "same_sound", "first": "x", "second": "y"}
    summary["judged"] = {"n": 48, "n_leaking": 34, "example": example}
    assert (
        judged_leaking(summary)
        == leaks(summary)
        == (
            "34 of the 48 evaluated clips come from the same recording as training clips (for "
            "example x and y: the same sound): on these the score says nothing about new "
            "recordings."
        )
    )
    assert judged_leaking(summary | {"trained_on": 2}) == (
        "34 evaluated clips come from the same recording as training clips (for example x and y: "
        "the same sound)."
    )
    summary["judged"]["n_leaking"] = 1
    assert leaks(summary).startswith("1 of the 48 evaluated clips comes from the same")


def test_a_pair_in_training_and_validation_flatters_no_score() -> None:
    summary = _leak("train", "val")
    summary["judged"] = {"n": 48, "n_leaking": 0, "example": None}
    assert judged_leaking(summary) == ""
    assert "divided between training and validation (for example 0 and 1: the same file)" in leaks(
        summary
    )


@pytest.mark.parametrize(
    ("left", "says"), [(1, "leaves only 1 group, "), (2, "leaves only 2 groups, ")]
)
def test_too_few_groups_left_are_told(left: int, says: str) -> None:
    summary = _leak("train", "test")
    summary["groups_left"] = left
    assert says in few_left(summary)
    assert few_left(summary) in summary_text(summary)


def test_enough_groups_or_none_joined_are_not_told() -> None:
    summary = _leak("train", "test")
    assert few_left(summary | {"groups_left": 3}) == ""
    assert few_left(_audit() | {"groups_left": 1}) == ""
