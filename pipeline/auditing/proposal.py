"""Groups as the findings would have them: clips of one recording in one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.cells import table_text
from data_prep.dataset.manifest import ManifestRow
from data_prep.files import write_text_atomically
from pipeline.auditing.findings import PARTS_OF_ONE_FILE, Crossing, Finding, part_cells

_COLUMNS = ("path", "start_s", "end_s", "label", "group", "proposed_group")


def proposed_groups(rows: Sequence[ManifestRow], findings: Iterable[Finding]) -> dict[str, str]:
    """{clip id: group}: today's groups, joined where a finding links them, named by the first
    that is not just a file of its own."""
    files = {row.path for row in rows}
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while parent.setdefault(group, group) != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for finding in findings:
        # parts of one file are in several groups only where people, or split.by=time, want that
        if Crossing.GROUPS in finding.crossings and finding.note != PARTS_OF_ONE_FILE:
            ends = {root(row.group_or_path) for row in (finding.first, finding.second)}
            name, *others = sorted(ends, key=lambda group: (group in files, group))
            parent.update(dict.fromkeys(others, name))
    return {row.id: root(row.group_or_path) for row in rows}


def joined(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[list[str]]:
    """The sets of today's groups that become one, each sorted."""
    members: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        members[groups[row.id]].add(row.group_or_path)
    return sorted(sorted(names) for names in members.values() if len(names) > 1)


def write_proposal(path: Path, rows: Sequence[ManifestRow], groups: dict[str, str]) -> None:
    """One row for every clip: its group today and the proposed one."""
    lines = (
        [*part_cells(row), row.label, row.group, groups[row.id]]
        for row in sorted(rows, key=lambda row: (row.path, row.start_s or 0.0))
    )
    write_text_atomically(path, table_text(_COLUMNS, lines))


def with_groups(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[ManifestRow]:
    """The rows with these groups; a file that cannot be read goes where its group goes."""
    named = {row.group: groups[row.id] for row in rows if row.group and row.id in groups}
    return [replace(row, group=groups.get(row.id, named.get(row.group, row.group))) for row in rows]
