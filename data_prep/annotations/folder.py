"""Label format: a folder with one sub-folder for each label."""

from __future__ import annotations

import os
from pathlib import Path

from data_prep.annotations.listing import Listing, label_notes
from data_prep.annotations.paths import walk
from data_prep.manifest import ManifestRow, normalise_label, printable_name
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError, counted


def reads(path: Path) -> bool:
    """Whether a path is a folder."""
    return path.is_dir()


def read(path: Path, settings: LabelSettings) -> Listing:
    """A row for every file below the folder. Raises DataSetError if none has a label."""
    named = [(file, _folder_of(file, path)) for file in walk(path)]
    rows = [ManifestRow(path=str(file), label=normalise_label(folder)) for file, folder in named]
    if not rows:
        raise DataSetError(f"{path} holds no files; put videos into one sub-folder per label")
    if not any(row.label for row in rows):
        tables = sorted(path.glob("*.csv"))  # perhaps the labels are in a table
        hint = f"did you mean {tables[0]}?" if tables else "make one sub-folder per label"
        raise DataSetError(f"{path} has files but no sub-folder with files, so no labels; {hint}")
    notes = label_notes(rows, [folder for _, folder in named])
    # without a label they cannot be used, but they should not vanish silently
    loose = sum(not row.label for row in rows)
    if loose:
        notes.append(f"not used: {counted(loose, 'file')} directly in {path}, without a label")
    return Listing(rows, notes)


def _folder_of(file: Path, data: Path) -> str:
    """Name of the folder directly below `data` that contains a file; "" for files in it itself."""
    parts = file.relative_to(os.path.abspath(data)).parts  # noqa: PTH100
    return printable_name(parts[0]) if len(parts) > 1 else ""
