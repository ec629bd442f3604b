"""Findings of the audit: pairs of clips of one recording, and the boundaries they cross."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow


class Kind(StrEnum):
    """What two clips share, the most certain evidence first."""

    SAME_BYTES = "same_bytes"
    SAME_SOUND = "same_sound"
    SAME_PICTURE = "same_picture"
    SAME_RECORDING = "same_recording"


PARTS_OF_ONE_FILE = "parts of one file"  # a value of the note column, which proposed_groups reads


class Crossing(StrEnum):
    """A boundary between two clips of one recording, the most harmful first."""

    LABELS = "labels"
    SPLITS = "splits"
    FOLDS = "folds"
    GROUPS = "groups"


@dataclass(frozen=True)
class Finding:
    """Two clips, in manifest order, that are the same recording in whole or in part."""

    kind: Kind
    first: ManifestRow
    second: ManifestRow
    offset_s: float = 0.0
    """Time in the first clip at which the second one starts."""
    score: float | None = 1.0
    """Agreement, 1 if certain, None if no content was compared; see `data_prep.fingerprints`."""
    note: str = ""
    dubbed: bool = False
    """The same picture with another sound or the reverse: that leaks, but two labels may both be
    correct."""

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        return crossings(self.first, self.second)

    @property
    def leaks(self) -> bool:
        """Whether one clip may be in training while the other is in evaluation."""
        return bool({Crossing.SPLITS, Crossing.FOLDS} & set(self.crossings))

    @property
    def conflicts(self) -> bool:
        """Whether the same content has two labels; a long recording can correctly have both."""
        # SAME_RECORDING rests on time alone: the content may differ
        one_content = self.kind is not Kind.SAME_RECORDING and not self.dubbed
        return Crossing.LABELS in self.crossings and one_content


def crossings(first: ManifestRow, second: ManifestRow) -> tuple[Crossing, ...]:
    """The boundaries between two clips, worst first: label, split, fold, group."""
    found = []
    if first.label != second.label:
        found.append(Crossing.LABELS)
    for name, crossing in (("split", Crossing.SPLITS), ("fold", Crossing.FOLDS)):
        first_value, second_value = getattr(first, name), getattr(second, name)
        # a clip without a split or fold is on no side
        if first_value and second_value and first_value != second_value:
            found.append(crossing)
    if first.group_or_path != second.group_or_path:  # a clip without a group is a group of its own
        found.append(Crossing.GROUPS)
    return tuple(found)


def of_interest(first: ManifestRow, second: ManifestRow) -> bool:
    """Whether two clips differ in label, split, fold or group; one group may share a recording."""
    return bool(crossings(first, second))


FINDING_COLUMNS = (
    "kind", "crosses", "first", "second", "offset_s", "score", "note",
    "first_label", "second_label", "first_group", "second_group",
    "first_split", "second_split", "first_fold", "second_fold",
    "first_start_s", "second_start_s", "first_end_s", "second_end_s",
)  # fmt: skip


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write the findings as CSV, in the given order."""
    write_text_atomically(path, csv_text(FINDING_COLUMNS, map(finding_cells, findings)))


def finding_cells(finding: Finding) -> list[str]:
    """The cells of one row, in the order of FINDING_COLUMNS."""
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
    """path, start_s and end_s of a clip as CSV cells; times in seconds, empty if not set."""
    # 12 digits: edges of parts must survive the round trip
    return [row.path, *("" if s is None else f"{s:.12g}" for s in (row.start_s, row.end_s))]


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Sorted by worst boundary, then certainty of the kind, then score, then paths."""
    order = list(Crossing)
    return sorted(
        findings,
        key=lambda f: (
            min(order.index(c) for c in f.crossings), list(Kind).index(f.kind), -(f.score or 0.0),
            f.first.path, f.second.path,
        ),
    )  # fmt: skip
