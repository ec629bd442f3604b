"""A random split flatters where clips of a group are alike, and not where they are not.

Proposed groups join what findings link, and nothing else.

What an audit leaves: files that are known again, and names for sentences.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.manifest import ManifestRow
from pipeline.features.feature_store import StoredClip
from pipeline.leak_audit.audit_result import (
    Audit,
    clip_name,
    end_name,
    keep_audit,
    manifest_digest,
    mean_features,
    merged_groups,
    proposed_groups,
    read_audit,
    split_optimism,
    with_groups,
    write_audit,
    write_proposal,
)
from pipeline.leak_audit.findings import Finding, Kind


@dataclass
class _Store:
    """Hands out clips as a work folder's store does."""

    clips: list[StoredClip]

    def read(self, ids, features_alone):
        return [clip for clip in self.clips if clip.id in ids]


def _set(own: float, n_groups: int = 20, per_group: int = 6):
    """Clips whose features tell the group by `own` and the label a little."""
    draw = np.random.default_rng(0)
    rows, clips, groups = [], [], {}
    for group in range(n_groups):
        label, look = group % 2, draw.normal(0, own, 24)
        for k in range(per_group):
            clip_id = f"{group}-{k}"
            rows.append(ManifestRow(path=clip_id, id=clip_id, label="ab"[label]))
            groups[clip_id] = str(group)
            seen = look + draw.normal(0, 1, (3, 24))
            seen[:, 0] += 2 * label
            there = np.array([True, True, False])
            clips.append(
                StoredClip(clip_id, seen.astype(np.float16), np.zeros(3, np.float32), there, there)
            )
    features = mean_features(_Store(clips), {row.id for row in rows})
    return features, rows, groups


def test_it_flatters_where_groups_are_alike() -> None:
    found = split_optimism(*_set(own=3.0))
    assert found is not None
    assert found.random - found.grouped > 0.15
    assert (found.n_clips, found.n_groups) == (120, 20)


def test_it_does_not_where_clips_are_independent() -> None:
    found = split_optimism(*_set(own=0.0))
    assert found is not None
    assert abs(found.random - found.grouped) < 0.06


@pytest.mark.parametrize("n_groups", [2, 4])
def test_too_few_groups_say_nothing(n_groups: int) -> None:
    assert split_optimism(*_set(1.0, n_groups)) is None


def test_groups_of_single_clips_say_nothing() -> None:
    """Both ways of drawing folds are the same then, and differ by chance alone."""
    assert split_optimism(*_set(1.0, 60, 1)) is None


def test_an_empty_store_says_nothing() -> None:
    _, rows, groups = _set(1.0)
    assert split_optimism(mean_features(_Store([]), set()), rows, groups) is None


def test_groups_that_leave_a_fold_empty_say_nothing() -> None:
    """Five groups of one label each, by which scikit-learn leaves one of five folds empty."""
    draw = np.random.default_rng(0)
    sizes, labels = (7, 6, 3, 7, 2), "ababa"
    rows = [
        ManifestRow(path=f"{g}-{k}", id=f"{g}-{k}", label=labels[g], group=str(g))
        for g, size in enumerate(sizes)
        for k in range(size)
    ]
    features = {row.id: draw.normal(size=24).astype(np.float32) for row in rows}
    assert split_optimism(features, rows, {row.id: row.group for row in rows}) is None


def test_clips_that_are_all_the_same_say_nothing() -> None:
    features, rows, groups = _set(0.0)
    assert split_optimism({key: np.ones(24, np.float32) for key in features}, rows, groups) is None


_ROWS = [ManifestRow(path=f"{k}.mp4", id=str(k), label="a", group=f"g{k // 2}") for k in range(12)]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=8))
def test_linked_groups_become_one_and_others_stay(links: list[tuple[int, int]]) -> None:
    findings = [Finding(Kind.SAME_SOUND, _ROWS[a], _ROWS[b]) for a, b in links]
    groups = proposed_groups(_ROWS, findings)
    for a, b in links:
        assert groups[str(a)] == groups[str(b)]
    touched = {_ROWS[k].group for pair in links for k in pair}
    for row in _ROWS:
        if row.group not in touched:
            assert groups[row.id] == row.group
    # the coarsest that is needed: as many groups as there are connected sets
    together = merged_groups(_ROWS, groups)
    assert len(set(groups.values())) == 6 - sum(len(names) - 1 for names in together)


def test_a_group_with_a_name_names_those_without() -> None:
    rows = [
        ManifestRow(path="/a/1.mp4", id="1", label="a", group="/a/1.mp4"),
        ManifestRow(path="/a/2.mp4", id="2", label="a", group="monday"),
        ManifestRow(path="/a/3.mp4", id="3", label="a", group="sunday"),
    ]
    findings = [Finding(Kind.SAME_BYTES, rows[0], rows[1]), Finding(Kind.SAME_BYTES, *rows[1:])]
    groups = proposed_groups(rows, findings)
    assert set(groups.values()) == {"monday"}
    broken = ManifestRow(path="/a/4.mp4", id="4", label="a", group="sunday")
    other = ManifestRow(path="/a/5.mp4", id="5", label="a", group="friday")
    named = [row.group for row in with_groups([*rows, broken, other], groups)]
    assert named == ["monday"] * 4 + ["friday"]


def test_clips_without_a_group_are_joined_by_path(tmp_path: Path) -> None:
    rows = [ManifestRow(path=f"{k}.mp4", id=str(k), label="a") for k in range(3)]
    groups = proposed_groups(rows, [Finding(Kind.SAME_BYTES, rows[0], rows[2])])
    assert groups == {"0": "0.mp4", "1": "1.mp4", "2": "0.mp4"}
    assert [row.group for row in with_groups(rows, groups)] == ["0.mp4", "1.mp4", "0.mp4"]
    write_proposal(tmp_path / "groups.csv", rows, groups)
    assert (tmp_path / "groups.csv").read_text().splitlines()[3] == "2.mp4,,,a,,0.mp4"


def _rows(n: int) -> list[ManifestRow]:
    return [
        ManifestRow(path=f"/v/{k}.mp4", id=f"{k}", label="a", group=f"g{k}", split="train")
        for k in range(n)
    ]


def test_an_earlier_audit_is_known_by_its_clips(tmp_path: Path) -> None:
    rows = _rows(3)
    found = Audit(rows, [], {row.id: "g" for row in rows}, None, 3)
    for unfit in (replace(found, n_compared=2), replace(found, prepared=False)):
        write_audit(tmp_path, unfit)
        assert read_audit(tmp_path, rows) is None
    write_audit(tmp_path, found)
    assert read_audit(tmp_path, rows) == json.loads(json.dumps(found.as_read()))
    for name, value in (("label", "b"), ("group", "h"), ("split", "test"), ("fold", "2")):
        assert read_audit(tmp_path, [replace(rows[0], **{name: value}), *rows[1:]]) is None
    assert read_audit(tmp_path, rows[:2]) is None
    (tmp_path / "audit.json").write_text("{}")
    assert read_audit(tmp_path, rows) is None
    assert manifest_digest(rows) == manifest_digest(rows[::-1])


def test_the_files_say_what_was_found(tmp_path: Path) -> None:
    rows = _rows(3)
    part = replace(rows[1], start_s=2.5, end_s=4.0, split="test")
    finding = Finding(Kind.SAME_SOUND, rows[0], part, -0.8, 0.91, "4.0 s of it")
    groups = {"0": "g0", "1": "g0", "2": "g2"}
    found = Audit([rows[0], part, rows[2]], [finding], groups, None, 3)
    write_audit(tmp_path, found)
    kept = json.loads((tmp_path / "audit.json").read_text())
    assert kept == found.as_read()
    summary = kept["summary"]
    assert summary["leaks"] == {
        "n": 1,
        "example": {"kind": "same_sound", "first": "0.mp4", "second": "1.mp4 (2.5–4 s)"},
    }
    assert (summary["groups_joined"], summary["groups_left"]) == ([2, 1], 2)
    assert summary["by_kind"]["same_sound"] == 1
    assert summary["judged"] is None
    with (tmp_path / "findings.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == kept["findings"][0]
    assert end_name(row, "second") == "1.mp4 (2.5–4 s)"
    with (tmp_path / "groups.csv").open(newline="") as file:
        assert [row["proposed_group"] for row in csv.DictReader(file)] == ["g0", "g0", "g2"]


def test_an_evaluation_keeps_the_audit_alone(tmp_path: Path) -> None:
    rows = _rows(2)
    found = Audit(rows, [], {row.id: "g" for row in rows}, None, 2)
    keep_audit(tmp_path, found.as_read())
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]
    assert read_audit(tmp_path, rows) == found.as_read()


def test_parts_are_named_by_what_is_known_of_them() -> None:
    assert clip_name("/v/a.mp4", None, None) == "a.mp4"
    assert clip_name("/v/a.mp4", 1.5, None) == "a.mp4 (1.5–)"
    assert clip_name("/v/a.mp4", None, 2.0) == "a.mp4 (0–2 s)"
