"""Listing of a labelled data set: its files and labels, in any of the label formats.

Opens no media files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from data_prep.manifest import ManifestRow, merged_label_notes, similar_label_notes
from data_prep.settings import LabelSettings, TaskSettings
from data_prep.status import DataSetError


@dataclass(frozen=True)
class Listing:
    """Rows of a data set, and notes for the user on how they were read."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)


def label_notes(rows: Sequence[ManifestRow], folders: list[str]) -> list[str]:
    """Notes on labels that were merged or are similar, since they may be misspelt."""
    notes = merged_label_notes(set(folders))
    return [*notes, *similar_label_notes({row.label for row in rows if row.label})]


FORMATS = ("webvtt", "table", "folder")
"""Modules of this package, one per label format, tried in this order. Each has `reads`, whether a
path has its format, judging by the name, and `read`, which returns a Listing, or for labels in time
`read_in_time`, or both."""


def list_data_set(
    data: Path, labels: LabelSettings | None = None, in_time: TaskSettings | None = None
) -> Listing:
    """A row for every file, or labelled segment, of a labelled data set. Raises DataSetError.

    in_time: of a task whose labels are segments in time: a file has one row with its segments.
    """
    if not data.exists():
        raise DataSetError(f"{data} does not exist; DATA is a folder of class folders, or a CSV")
    if in_time is not None and in_time.target is not None and data.is_dir():
        raise DataSetError(
            f"{data} is a folder; with task.target={in_time.target}, DATA is a table with the "
            f"columns path and {in_time.target}, which names a CSV of numbers for each file"
        )
    for name in FORMATS:
        # imported here: the formats import this module
        module = import_module(f"data_prep.annotations.{name}")
        read = getattr(module, "read" if in_time is None else "read_in_time", None)
        if read is not None and module.reads(data):
            settings = (labels or LabelSettings(), *([] if in_time is None else [in_time]))
            listing: Listing = read(data, *settings)
            return listing
    if in_time is not None and data.is_dir():
        raise DataSetError(
            f"{data} has no labels in time; DATA is a table of labelled segments (path, start_s, "
            "end_s, label), or a folder with a WebVTT file (.vtt) beside each video"
        )
    raise DataSetError(f"{data} is one file; DATA is a folder of class folders, or a CSV")
