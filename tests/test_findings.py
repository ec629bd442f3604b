"""What a finding crosses, in which order findings are told, and what the table holds."""

from __future__ import annotations

import csv
from pathlib import Path

from data_prep.manifest import ManifestRow
from pipeline.leak_audit.findings import (
    FINDING_COLUMNS,
    Crossing,
    Finding,
    Kind,
    crossings,
    of_interest,
    worst_first,
    write_findings,
)


def _row(
    name: str, label: str = "a", group: str = "", split: str = "", fold: str = ""
) -> ManifestRow:
    return ManifestRow(path=name, id=name, label=label, group=group, split=split, fold=fold)


def test_crossings_name_every_border() -> None:
    one = _row("1", "a", "g", "train", "1")
    assert crossings(one, _row("2", "b", "h", "test", "2")) == tuple(Crossing)
    assert crossings(one, _row("2", "a", "g", "train", "1")) == ()
    assert crossings(one, _row("2", "a", "g", "", "")) == ()
    assert crossings(_row("1"), _row("2")) == (Crossing.GROUPS,)  # each its own


def test_clips_of_one_group_and_label_are_nobody_elses_business() -> None:
    assert not of_interest(_row("1", "a", "g"), _row("2", "a", "g"))
    assert of_interest(_row("1", "a", "g"), _row("2", "b", "g"))
    assert of_interest(_row("1", "a", "g"), _row("2", "a", "h"))
    assert of_interest(_row("1", "a", "g", "train"), _row("2", "a", "g", "test"))


def test_a_recording_may_show_two_labels_but_a_content_may_not() -> None:
    pair = _row("1", "a", "g"), _row("2", "b", "h")
    assert Finding(Kind.SAME_BYTES, *pair).conflicts
    assert not Finding(Kind.SAME_RECORDING, *pair).conflicts
    assert not Finding(Kind.SAME_BYTES, pair[0], _row("2", "a", "h")).conflicts
    assert Finding(Kind.SAME_PICTURE, *pair).conflicts
    assert not Finding(Kind.SAME_PICTURE, *pair, dubbed=True).conflicts


def test_leaks_are_across_splits_or_folds() -> None:
    assert Finding(Kind.SAME_SOUND, _row("1", split="train"), _row("2", split="test")).leaks
    assert Finding(Kind.SAME_SOUND, _row("1", fold="1"), _row("2", fold="2")).leaks
    assert not Finding(Kind.SAME_SOUND, _row("1", split="train"), _row("2", split="train")).leaks


def test_the_worst_come_first_and_the_table_is_safe(tmp_path: Path) -> None:
    mild = Finding(Kind.SAME_BYTES, _row("1"), _row("2"))
    leak = Finding(Kind.SAME_SOUND, _row("3", split="train"), _row("4", split="test"), 1.5, 0.8)
    conflict = Finding(Kind.SAME_PICTURE, _row("5", "=1+1"), _row("6", "b"))
    path = tmp_path / "findings.csv"
    write_findings(path, worst_first([mild, leak, conflict]))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["first"] for row in rows] == ["5", "3", "1"]
    assert tuple(rows[0]) == FINDING_COLUMNS
    assert rows[0]["first_label"] == "'=1+1"
    assert rows[1]["offset_s"] == "1.50"
    assert rows[1]["crosses"] == "splits groups"
