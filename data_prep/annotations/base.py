"""What reading a labelled data set gives, whatever it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_prep.label_text import merged_label_notes, similar_label_notes
from data_prep.manifest import ManifestRow


@dataclass(frozen=True)
class Listing:
    """Rows of a data set, and notes on how they were read."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)


def label_notes(rows: Sequence[ManifestRow], folders: list[str]) -> list[str]:
    notes = merged_label_notes(set(folders))
    return [*notes, *similar_label_notes({row.label for row in rows if row.label})]
