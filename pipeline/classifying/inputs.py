"""Which files `classify` is given: folders, files and lists of them, each file once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.dataset.listing import list_table, walk
from data_prep.dataset.manifest import ManifestRow, with_file_facts
from data_prep.status import DataSetError, Status
from pipeline.errors import UserError

_TABLE_ENDINGS = (".csv", ".txt")


def list_inputs(inputs: Sequence[Path]) -> list[ManifestRow]:
    """A row with id for every file of files, folders and lists, sorted, each once.

    Raises UserError for an input that does not exist or a folder without files.
    """
    rows: dict[str, ManifestRow] = {}
    for given in inputs:
        for row in _list_input(given):
            rows.setdefault(row.path, with_file_facts(row))
    return [rows[path] for path in sorted(rows)]


def _list_input(given: Path) -> list[ManifestRow]:
    if _exists(given) and given.is_dir():
        files = walk(given)
        if not files:
            raise UserError(f"{given} holds no files to classify")
        return [ManifestRow(path=str(file)) for file in files]
    if not _exists(given):
        raise UserError(f"{given} does not exist; INPUT is a folder, a file or a list of files")
    if given.suffix.lower() in _TABLE_ENDINGS:
        return _list_table(given)
    return [ManifestRow(path=str(given.absolute()))]


def _list_table(given: Path) -> list[ManifestRow]:
    """Files a list names: a CSV with a column path, or plain lines. One row per file."""
    try:
        rows = list_table(given)
    except DataSetError:
        lines = given.read_text("utf-8-sig", "surrogateescape").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names or given.suffix.lower() == ".csv":
            raise
        rows = [ManifestRow(path=str((given.parent / name).absolute())) for name in names]
    return [
        row
        if _exists(Path(row.path))
        else ManifestRow(path=row.path, status=Status.MISSING, error=f"named in {given.name}")
        for row in {row.path: ManifestRow(path=row.path) for row in rows}.values()
    ]


def _exists(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is one that is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
