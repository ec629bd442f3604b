"""Groups as the findings would have them: clips of one recording in one group.

The outcome of an audit: what was found, a summary of it, and the files it leaves.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow
from pipeline.leak_audit.findings import (
    FINDING_COLUMNS,
    PARTS_OF_ONE_FILE,
    Crossing,
    Finding,
    Kind,
    finding_cells,
    part_cells,
    write_findings,
)
from pipeline.leak_audit.split_optimism import SplitOptimism

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


def n_joined(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[list[str]]:
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
    write_text_atomically(path, csv_text(_COLUMNS, lines))


def with_groups(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[ManifestRow]:
    """The rows with these groups; a file that cannot be read goes where its group goes."""
    named = {row.group: groups[row.id] for row in rows if row.group and row.id in groups}
    return [replace(row, group=groups.get(row.id, named.get(row.group, row.group))) for row in rows]


AUDIT_FOLDER, AUDIT_NAME = "audit", "audit.json"
_VERSION = 4  # of what is looked for: an audit by other rules is done again


@dataclass(frozen=True)
class Audit:
    """What was found in a data set."""

    rows: list[ManifestRow]
    findings: list[Finding]
    groups: dict[str, str]
    """{clip id: proposed group}."""
    flattery: SplitOptimism | None
    n_compared: int
    trained_on: int = 0
    """Of an evaluation: judged clips that are among those the model was trained on."""
    with_training: bool = True
    """Of an evaluation: whether the clips trained on were at hand."""
    prepared: bool = True
    """Whether the work folder holds features, without which nothing is known of random splits."""

    def summary(self) -> dict[str, Any]:
        """For audit.json and metrics.json; `told` makes sentences of it."""
        together = n_joined(self.rows, self.groups)
        return {
            "digest": manifest_digest(self.rows),
            "version": _VERSION,
            "trained_on": self.trained_on,
            "with_training": self.with_training,
            "n_clips": len(self.rows),
            "n_compared": self.n_compared,
            "leaks": _counted([f for f in self.findings if f.leaks]),
            "conflicts": _counted([f for f in self.findings if f.conflicts]),
            "others": _counted([f for f in self.findings if not f.leaks and not f.conflicts]),
            "by_kind": {str(kind): sum(f.kind is kind for f in self.findings) for kind in Kind},
            "across_folds": any(Crossing.FOLDS in f.crossings for f in self.findings),
            "groups_joined": [sum(map(len, together)), len(together)],
            "groups_left": len(set(self.groups.values())),
            "judged": None,  # an evaluation's to fill in
            "prepared": self.prepared,
            "flattery": None if self.flattery is None else asdict(self.flattery),
        }

    def as_read(self) -> dict[str, Any]:
        """{"summary", "findings"}, as `read_audit` gives them."""
        return {"summary": self.summary(), "findings": [_cells(f) for f in self.findings]}


def manifest_digest(rows: Sequence[ManifestRow]) -> str:
    """Names clips and what stands between them, so that an earlier audit of them is known."""
    told = sorted((r.id, r.label, r.group, r.fold, r.split) for r in rows)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def write_audit(folder: Path, found: Audit) -> None:
    """findings.csv, groups.csv and audit.json, each by temporary file and rename."""
    write_findings(folder / "findings.csv", found.findings)
    write_proposal(folder / "groups.csv", found.rows, found.groups)
    keep_audit(folder, found.as_read())


def keep_audit(folder: Path, found: dict[str, Any]) -> None:
    """audit.json alone, for `read_audit`. found: as `Audit.as_read` gives it."""
    write_text_atomically(folder / AUDIT_NAME, json.dumps(found, indent=1) + "\n")


def read_audit(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Any] | None:
    """{"summary", "findings"} of an earlier audit of just these clips, or None.

    One that could not read some clips, or was made before prep and so knows nothing of random
    splits, does not count.
    """
    try:
        kept = json.loads((folder / AUDIT_NAME).read_text("utf-8"))
        summary = kept["summary"]
        fits = (
            (summary["digest"], summary["version"]) == (manifest_digest(rows), _VERSION)
            and summary["n_compared"] == summary["n_clips"]
            and summary["prepared"]
            and all(set(finding) == set(FINDING_COLUMNS) for finding in kept["findings"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if fits else None


def example_of(finding: Mapping[str, str]) -> dict[str, str]:
    """For a sentence: what two clips share, and their names. finding: as its table has it."""
    ends = {end: end_name(finding, end) for end in ("first", "second")}
    return {"kind": finding["kind"], **ends}


def end_name(finding: Mapping[str, str], end: str) -> str:
    """The name of the "first" or "second" clip of a finding as its table has it."""
    cells = (finding[f"{end}_{name}"] for name in ("start_s", "end_s"))
    return clip_name(finding[end], *(float(cell) if cell else None for cell in cells))


def clip_name(path: str, start_s: float | None, end_s: float | None) -> str:
    """A file's name, and which part of it is meant."""
    name = Path(path).name
    if start_s is None and end_s is None:
        return name
    return f"{name} ({start_s or 0:g}–{'' if end_s is None else f'{end_s:g} s'})"


def _counted(findings: Sequence[Finding]) -> dict[str, Any]:
    """How many, and one of them."""
    example = example_of(_cells(findings[0])) if findings else None
    return {"n": len(findings), "example": example}


def _cells(finding: Finding) -> dict[str, str]:
    return dict(zip(FINDING_COLUMNS, finding_cells(finding), strict=True))
