"""List the inputs of `classify`: folders, files, and lists of files, each file or part once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath

from data_prep.annotations.columns import is_header
from data_prep.annotations.paths import FileFinder, absolute_name, walk
from data_prep.annotations.table import list_table
from data_prep.csv_table import TABLE_ENDINGS, read_table
from data_prep.manifest import ManifestRow, with_file_facts
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError, Status
from pipeline.errors import UserError
from pipeline.text_format import counted

_OWN = LabelSettings()


@dataclass
class Inputs:
    """Unique rows with ids, sorted by path and time: one per file, or part listed by a table."""

    rows: list[ManifestRow]
    notes: list[str] = field(default_factory=list)


def list_inputs(inputs: Sequence[Path], labels: LabelSettings = _OWN) -> Inputs:
    """One row for every file or part in folders, files and tables.

    Files that a list names but that do not exist get the status MISSING. Raises UserError for an
    input that does not exist or a folder without files, DataSetError for an unreadable list.
    """
    rows: dict[tuple[str, float | None, float | None], ManifestRow] = {}
    notes: list[str] = []
    for given in inputs:
        for row in _list_input(given, labels, notes):
            rows.setdefault(row.key, with_file_facts(row))  # the first of equal rows wins
    return Inputs(sorted(rows.values(), key=_sort_key), notes)


def relative_paths(inputs: Sequence[Path], rows: Sequence[ManifestRow]) -> dict[str, PurePath]:
    """{path: path from the common folder of the inputs}; without addresses, which are no files.

    The common folder is that of all given folders and of all files that were given or listed.
    """
    files = {
        row.path: _without_parents(PurePath(row.path))
        for row in rows
        if PurePath(row.path).is_absolute()
    }
    folders = [_without_parents(given.absolute()) for given in inputs if given.is_dir()]
    if not (files or folders):
        return {}
    common = os.path.commonpath([*folders, *(file.parent for file in files.values())])
    return {path: PurePath(os.path.relpath(file, common)) for path, file in files.items()}


def _without_parents(path: PurePath) -> PurePath:
    """An absolute path without `..`, which after a link leads elsewhere than the text says."""
    return PurePath(os.path.realpath(path)) if ".." in path.parts else path


def _sort_key(row: ManifestRow) -> tuple[str, float, float]:
    return row.path, row.start_s or 0.0, row.end_s or 0.0


def _list_input(given: Path, labels: LabelSettings, notes: list[str]) -> list[ManifestRow]:
    if _exists(given) and given.is_dir():
        files = walk(given)
        if not files:
            raise UserError(f"{given} holds no files to classify")
        return [ManifestRow(path=str(file)) for file in files]
    if not _exists(given):
        raise UserError(f"{given} does not exist; INPUT is a folder, a file or a list of files")
    if given.suffix.lower() in TABLE_ENDINGS:
        return _list_table(given, labels, notes)
    return [ManifestRow(path=absolute_name(str(given), Path()))]


def _list_table(given: Path, labels: LabelSettings, notes: list[str]) -> list[ManifestRow]:
    """Rows of a list: a table with a column path, or plain lines."""
    # other endings are always tables
    if given.suffix.lower() == ".txt" and not _is_table(given, labels):
        # file names need not be UTF-8; a BOM is dropped
        lines = given.read_text("utf-8-sig", "surrogateescape").splitlines()
        finder = FileFinder(given.absolute().parent)
        names = [line.strip() for line in lines if line.strip()]
        found = [(name, finder.find(name)) for name in names]
        # a line with # is a comment, unless a file has that name
        rows = [
            ManifestRow(path=path) for name, path in found if not name.startswith("#") or
            _exists(Path(path))
        ]  # fmt: skip
        notes += finder.note(given)
        notes += [f"several files match {name}; give more of the path" for name in finder.ambiguous]
        if not rows:
            raise DataSetError(f"{given} is empty; it needs one file name per line")
    else:
        listing = list_table(given, labels)
        notes += listing.notes
        rows = listing.rows
    parts = [row for row in rows if row.start_s is not None or row.end_s is not None]
    if parts:
        n_files = len({row.path for row in parts})
        notes.append(
            f"{given} names {counted(len(parts), 'part')} of {counted(n_files, 'file')}: one row "
            "for each, with start_s and end_s"
        )
    return [_with_status(row, given) for row in rows]


def _with_status(row: ManifestRow, given: Path) -> ManifestRow:
    # drops labels, groups and splits of the table
    row = ManifestRow(path=row.path, start_s=row.start_s, end_s=row.end_s)
    if _exists(Path(row.path)):
        return row
    return replace(row, status=Status.MISSING, error=f"named in {given.name}")


def _is_table(given: Path, labels: LabelSettings) -> bool:
    """Whether a text file is a table and not a list of names: it has a path column, or columns
    separated by tabs (one of which must then be named as the path)."""
    try:
        table = read_table(given, partial(is_header, labels), labels.encoding)
    except DataSetError:
        return False
    if is_header(labels, table.names):
        return True
    with given.open(encoding="utf-8-sig", errors="replace") as file:
        return "\t" in file.readline()


def _exists(path: Path) -> bool:
    """Whether the path exists; False for names that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or one with a NUL character
        return False
