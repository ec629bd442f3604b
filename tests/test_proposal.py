"""Proposed groups join what findings link, and nothing else."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.findings import Finding, Kind
from pipeline.auditing.proposal import joined, proposed_groups, with_groups, write_proposal

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
    together = joined(_ROWS, groups)
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
