"""What the audit finds: pairs of clips that are one recording, and what that crosses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow


class Kind(StrEnum):
    """What two clips share, the surest first."""

    SAME_BYTES = "same_bytes"
    SAME_SOUND = "same_sound"
    SAME_PICTURE = "same_picture"
    SAME_RECORDING = "same_recording"


PARTS_OF_ONE_FILE = "parts of one file"


class Crossing(StrEnum):
    """What stands between two clips of one recording, the worst first."""

    LABELS = "labels"
    SPLITS = "splits"
    FOLDS = "folds"
    GROUPS = "groups"


@dataclass(frozen=True)
class Finding:
    """Two clips, manifest order, that are one recording wholly or in part."""

    kind: Kind
    first: ManifestRow
    second: ManifestRow
    offset_s: float = 0.0
    """Where the second one's beginning lies in the first."""
    score: float | None = 1.0
    """Agreement, 1 for certain, None where nothing was compared; see `data_prep.fingerprints`."""
    note: str = ""
    dubbed: bool = False
    """One picture under two sounds, or one sound under two pictures: that leaks, but may well have
    two labels."""

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        return crossings(self.first, self.second)

    @property
    def leaks(self) -> bool:
        """Whether one side may be trained on while the other is judged by."""
        return bool({Crossing.SPLITS, Crossing.FOLDS} & set(self.crossings))

    @property
    def conflicts(self) -> bool:
        """Whether one content has two labels; a long recording may well show both."""
        one_content = self.kind is not Kind.SAME_RECORDING and not self.dubbed
        return Crossing.LABELS in self.crossings and one_content


def crossings(first: ManifestRow, second: ManifestRow) -> tuple[Crossing, ...]:
    """What stands between two clips: label, split, fold, group; empty values stand for nothing."""
    found = []
    if first.label != second.label:
        found.append(Crossing.LABELS)
    for name, crossing in (("split", Crossing.SPLITS), ("fold", Crossing.FOLDS)):
        mine, other = getattr(first, name), getattr(second, name)
        if mine and other and mine != other:
            found.append(crossing)
    if first.group_or_path != second.group_or_path:
        found.append(Crossing.GROUPS)
    return tuple(found)


def of_interest(first: ManifestRow, second: ManifestRow) -> bool:
    """Clips of one group, label and split may be one recording; that is what groups are for."""
    return bool(crossings(first, second))


FINDING_COLUMNS = (
    "kind", "crosses", "first", "second", "offset_s", "score", "note",
    "first_label", "second_label", "first_group", "second_group",
    "first_split", "second_split", "first_fold", "second_fold",
    "first_start_s", "second_start_s", "first_end_s", "second_end_s",
)  # fmt: skip


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """The findings as a CSV, those that cross most first."""
    write_text_atomically(path, csv_text(FINDING_COLUMNS, map(finding_cells, findings)))


def finding_cells(finding: Finding) -> list[str]:
    first, second = finding.first, finding.second
    (_, *first_s), (_, *second_s) = map(part_cells, (first, second))
    return [
        finding.kind, " ".join(finding.crossings), first.path, second.path,
        f"{finding.offset_s:.2f}", "" if finding.score is None else f"{finding.score:.3f}",
        finding.note,
        first.label, second.label, first.group, second.group, first.split, second.split,
        first.fold, second.fold,
        first_s[0], second_s[0], first_s[1], second_s[1],
    ]  # fmt: skip


def part_cells(row: ManifestRow) -> list[str]:
    """path, start_s, end_s of a clip, as cells."""
    return [row.path, *("" if s is None else f"{s:.12g}" for s in (row.start_s, row.end_s))]


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    order = list(Crossing)
    return sorted(
        findings,
        key=lambda f: (
            min(order.index(c) for c in f.crossings), list(Kind).index(f.kind), -(f.score or 0.0),
            f.first.path, f.second.path,
        ),
    )  # fmt: skip
