"""Which files a data set names: a folder of class folders, or a CSV. Nothing is opened here."""

from __future__ import annotations

import os
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow, normal_split, read_table
from data_prep.status import DataSetError

_KNOWN_COLUMNS = frozenset({"path", "label", "start_s", "end_s", "group", "fold", "split"})


def list_data_set(data: Path) -> list[ManifestRow]:
    """A row for every file of a labelled data set. Raises DataSetError."""
    if not data.exists():
        raise DataSetError(f"{data} does not exist; DATA is a folder of class folders, or a CSV")
    if data.is_file():
        if data.suffix.lower() not in (".csv", ".tsv", ".txt"):
            raise DataSetError(f"{data} is one file; DATA is a folder of class folders, or a CSV")
        return list_table(data)
    rows = [
        ManifestRow(path=path, label=label, group="")
        for path, label in ((str(file), _label_of(file, data)) for file in walk(data))
    ]
    if not rows:
        raise DataSetError(f"{data} holds no files; put videos into one sub-folder per label")
    if not any(row.label for row in rows):
        tables = sorted(data.glob("*.csv"))
        hint = f"did you mean {tables[0]}?" if tables else "make one sub-folder per label"
        raise DataSetError(f"{data} has files but no sub-folder with files, so no labels; {hint}")
    return rows


def list_table(table: Path) -> list[ManifestRow]:
    """A row for every line of a CSV with `path` and optional label, segment, group, fold, split.

    Paths are relative to the CSV. Raises DataSetError naming the line.
    """
    rows = []
    for number, cells in read_table(table, strict=True):
        if not cells["path"].strip():
            raise DataSetError(f"{table}, line {number}: the path is empty")
        start_s = _seconds(table, number, "start_s", cells)
        end_s = _seconds(table, number, "end_s", cells)
        if end_s is not None and end_s <= (start_s or 0.0):
            raise DataSetError(
                f"{table}, line {number}: end_s ({end_s:g}) must be after "
                f"start_s ({start_s or 0:g})"
            )
        try:
            split = normal_split(cells.get("split", ""))
        except ValueError as error:
            raise DataSetError(f"{table}, line {number}: {error}") from error
        rows.append(
            ManifestRow(
                path=os.path.normpath(Path(table).absolute().parent / cells["path"].strip()),
                start_s=start_s,
                end_s=end_s,
                label=cells.get("label", "").strip(),
                group=cells.get("group", "").strip(),
                fold=cells.get("fold", "").strip(),
                split=split,
                extra={k: v for k, v in cells.items() if k not in _KNOWN_COLUMNS},
            )
        )
    if not rows:
        raise DataSetError(f"{table} has a header but no lines")
    _refuse_duplicates(table, rows)
    return rows


def walk(folder: Path) -> list[Path]:
    """Every file below a folder that is not hidden, sorted; links are followed, loops are not."""
    files: list[Path] = []
    seen: set[str] = set()
    waiting = [Path(os.path.abspath(folder))]  # noqa: PTH100 - resolve() would follow links
    while waiting:
        directory = waiting.pop()
        real = os.path.realpath(directory)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            files.append(directory)  # it gets a row that says it cannot be read
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [Path(entry.path) for entry in shown if _is_folder(entry)]
        files += [Path(entry.path) for entry in shown if not _is_folder(entry)]
        waiting += reversed(folders)
    return sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=True)
    except OSError:
        return False  # a link that leads back to itself; its row says so


def _label_of(file: Path, data: Path) -> str:
    parts = file.relative_to(os.path.abspath(data)).parts  # noqa: PTH100
    # A folder's name may hold bytes that are no text; a label is text.
    return os.fsencode(parts[0]).decode("utf-8", "replace") if len(parts) > 1 else ""


def _seconds(table: Path, number: int, name: str, cells: dict[str, str]) -> float | None:
    text = cells.get(name, "").strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise DataSetError(f"{table}, line {number}: {name} '{text}' is not a time in seconds")
    return round(value, 6)  # as the manifest keeps it, or the row would not be known again


def _refuse_duplicates(table: Path, rows: list[ManifestRow]) -> None:
    seen: dict[tuple[str, float | None, float | None], str] = {}
    for row in rows:
        if row.key in seen:
            labels = sorted({seen[row.key], row.label})
            raise DataSetError(
                f"{table} names {row.path} twice for the same time (label "
                f"{' and '.join(labels)}); keep one line"
            )
        seen[row.key] = row.label
