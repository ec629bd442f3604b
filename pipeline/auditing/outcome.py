"""The outcome of an audit: what was found, a summary of it, and the files it leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import ManifestRow
from data_prep.files import write_text_atomically
from pipeline.auditing.findings import (
    FINDING_COLUMNS,
    Crossing,
    Finding,
    Kind,
    finding_cells,
    write_findings,
)
from pipeline.auditing.flattery import Flattery
from pipeline.auditing.proposal import joined, write_proposal

AUDIT_FOLDER, AUDIT_NAME = "audit", "audit.json"
_VERSION = 4  # of what is looked for: an audit by other rules is done again


@dataclass(frozen=True)
class Audit:
    """What was found in a data set."""

    rows: list[ManifestRow]
    findings: list[Finding]
    groups: dict[str, str]
    """{clip id: proposed group}."""
    flattery: Flattery | None
    n_compared: int
    trained_on: int = 0
    """Of an evaluation: judged clips that are among those the model was trained on."""
    with_training: bool = True
    """Of an evaluation: whether the clips trained on were at hand."""
    prepared: bool = True
    """Whether the work folder holds features, without which nothing is known of random splits."""

    def summary(self) -> dict[str, Any]:
        """For audit.json and metrics.json; `told` makes sentences of it."""
        together = joined(self.rows, self.groups)
        return {
            "digest": digest_of(self.rows),
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


def digest_of(rows: Sequence[ManifestRow]) -> str:
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
            (summary["digest"], summary["version"]) == (digest_of(rows), _VERSION)
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
