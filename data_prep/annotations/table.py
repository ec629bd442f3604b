"""Label format: a table of files or labelled segments, as CSV or TSV."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data_prep.annotations.columns import Columns, find_columns, is_header, unused_time_columns
from data_prep.annotations.listing import Listing, label_notes
from data_prep.annotations.paths import FileFinder
from data_prep.annotations.segments import merge_segments
from data_prep.csv_table import TABLE_ENDINGS, lines_text, normal_name, read_table
from data_prep.manifest import (
    COLUMNS,
    ManifestRow,
    merged_label_notes,
    normal_split,
    normalise_label,
)
from data_prep.settings import LabelSettings, TaskSettings
from data_prep.status import DataSetError, counted

_EVENTS = "events"  # the task, and its column of lists
_MOST_FAULTS = 5  # lines in a message
_DEFAULTS = LabelSettings()
_SPREADSHEETS = (".xlsx", ".xls", ".ods")  # refused with a hint when read


def reads(path: Path) -> bool:
    """Whether a path is a table, judging by its name."""
    return path.is_file() and path.suffix.lower() in (*TABLE_ENDINGS, *_SPREADSHEETS)


def read(path: Path, settings: LabelSettings) -> Listing:
    """A row for every line of a labelled table. Raises DataSetError."""
    listing = list_table(path, settings, needs_label=True)
    return Listing(listing.rows, [*listing.notes, *label_notes(listing.rows, [])])


def read_in_time(path: Path, settings: LabelSettings, in_time: TaskSettings) -> Listing:
    """A row for every file of a table of labelled segments. Raises DataSetError."""
    return list_table(path, settings, needs_label=True, in_time=in_time)


def list_table(
    table: Path,
    labels: LabelSettings = _DEFAULTS,
    needs_label: bool = False,
    in_time: TaskSettings | None = None,
) -> Listing:
    """A row for every line of a table with a path and optional label, part, group, fold, split.

    Paths are relative to the table, or to labels.folder. Raises DataSetError naming the lines.
    """
    read = read_table(table, partial(is_header, labels), labels.encoding, strict=True)
    lists = next((name for name in read.names if normal_name(name) == _EVENTS), None)
    is_list = lists is not None and labels.column in (None, lists)
    if in_time is not None and in_time.name == _EVENTS and lists is not None and is_list:
        if labels.column is None and any(normal_name(name) == "label" for name in read.names):
            raise DataSetError(
                f"{table} has the columns label and {lists}; say which one holds the events with "
                f"labels.column=label or labels.column={lists}"
            )
        # one list for each clip, instead of segments
        labels, in_time = labels.model_copy(update={"column": labels.column or lists}), None
    columns = find_columns(table, read, labels, needs_label)
    if not read.rows:
        raise DataSetError(f"{table} has a header but no rows")
    finder = FileFinder(Path(labels.folder) if labels.folder else table.absolute().parent)
    rows, faults = [], _Faults(table)
    for line, cells in read.rows:
        row = _row(line, cells, columns, finder, faults, may_be_points=in_time is not None)
        if row is not None:
            rows.append((line, row))
    faults.refuse()  # only now, to name all invalid lines at once
    ambiguous = (
        f"{table}: {counted(len(finder.ambiguous), 'name matches', 'names match')} several files, "
        f"for example {finder.ambiguous[0]}; add more of the path"
        if finder.ambiguous
        else ""
    )
    if ambiguous and needs_label:
        raise DataSetError(ambiguous)
    _refuse_all_missing(table, [row for _, row in rows], finder.folder)
    times = unused_time_columns(read, columns, labels)
    if in_time is None:
        kept, notes = _merge_duplicates(table, rows, times)
    else:
        _refuse_without_times(table, rows, times)
        kept, notes = merge_segments(table, rows, in_time)
    notes = [*read.notes, *finder.note(table), *([ambiguous] if ambiguous else []), *notes]
    unlabelled = [line for line, row in rows if not row.label]
    if needs_label and unlabelled:
        notes.append(f"{table}: {lines_text(unlabelled)} no label and cannot be used for training")
    if needs_label:
        notes += merged_label_notes(columns.raw_cell("label", cells) for _, cells in read.rows)
    return Listing(kept, notes)


class _Faults:
    """Collects invalid lines, to report them together."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._found: list[str] = []

    def add(self, line: int, what: str) -> None:
        self._found.append(f"line {line}: {what}")

    def refuse(self) -> None:
        if self._found:
            more = len(self._found) - _MOST_FAULTS
            rest = f"; and {more} more lines" if more > 0 else ""
            raise DataSetError(f"{self._table}, {'; '.join(self._found[:_MOST_FAULTS])}{rest}")


def _row(
    line: int,
    cells: dict[str, str],
    columns: Columns,
    finder: FileFinder,
    faults: _Faults,
    may_be_points: bool = False,
) -> ManifestRow | None:
    """The row of a line; None if it is invalid, which is added to `faults`.

    may_be_points: whether a segment may end where it starts.
    """
    name = columns.cell("path", cells)
    if not name:
        faults.add(line, "the path is empty")
        return None
    if "\0" in name or "\n" in name:
        faults.add(line, "the path contains a line break or a NUL")
        return None
    times: dict[str, float | None] = {}
    for field in ("start_s", "end_s"):
        try:
            times[field] = parse_time_s(columns.cell(field, cells))
        except ValueError as error:
            faults.add(line, f"{field} {error}")
            return None
    start_s, end_s = times["start_s"], times["end_s"]
    is_point = may_be_points and start_s is not None and end_s == start_s
    if end_s is not None and end_s <= (start_s or 0.0) and not is_point:
        faults.add(line, f"end_s ({end_s:g}) must be after start_s ({start_s or 0:g})")
        return None
    try:
        split = normal_split(normalise_label(columns.cell("split", cells)))
    except ValueError as error:
        faults.add(line, str(error))
        return None
    # a column named like one of the manifest's gets a prefix
    other_columns = {"data_" + name if name in COLUMNS else name: value
                 for name, value in cells.items() if name not in columns.used}  # fmt: skip
    return ManifestRow(
        path=finder.find(name),
        start_s=start_s,
        end_s=end_s,
        label=normalise_label(columns.cell("label", cells)),
        group=normalise_label(columns.cell("group", cells)),
        fold=normalise_label(columns.cell("fold", cells)),
        split=split,
        extra=other_columns,
    )


def _refuse_all_missing(table: Path, rows: Sequence[ManifestRow], folder: Path) -> None:
    """Raise DataSetError if none of the files exists: the names are relative to another folder."""
    if rows and not any(os.path.lexists(row.path) for row in rows if "\0" not in row.path):
        raise DataSetError(
            f"{table}: none of its files exists (the first: {rows[0].path}). Names "
            f"are relative to {folder}; set another one with labels.folder=FOLDER"
        )


def _refuse_without_times(
    table: Path, rows: Sequence[tuple[int, ManifestRow]], times: list[str]
) -> None:
    """Raise DataSetError if a table of labels in time has no times."""
    if all(row.start_s is None and row.end_s is None for _, row in rows):
        hint = f": {' '.join(times)}" if times else " (columns start_s and end_s)"
        raise DataSetError(f"{table} has no times of the labels, which this task needs{hint}")


def _merge_duplicates(
    table: Path, rows: list[tuple[int, ManifestRow]], times: list[str]
) -> tuple[list[ManifestRow], list[str]]:
    """Merge duplicate rows. Raises DataSetError if duplicates have different labels."""
    of_key: dict[tuple[str, float | None, float | None], list[tuple[int, ManifestRow]]]
    of_key = defaultdict(list)
    for line, row in rows:
        of_key[row.key].append((line, row))
    conflicting = [
        duplicates
        for duplicates in of_key.values()
        if len({row.label for _, row in duplicates}) > 1
    ]
    if conflicting:
        lines, first = [line for line, _ in conflicting[0]], conflicting[0][0][1]
        names = " and ".join(sorted({row.label or "(none)" for _, row in conflicting[0]}))
        hint = f". Its times may be in other columns: {' '.join(times)}" if times else "; keep one"
        raise DataSetError(
            f"{table} names {first.path} twice for the same time (label {names}), "
            f"{lines_text(lines, '', '').strip()}"
            + (f", and {len(conflicting) - 1} more parts like it" if len(conflicting) > 1 else "")
            + hint
        )
    repeated = len(rows) - len(of_key)
    notes = []
    if repeated:
        notes.append(f"{table}: merged {counted(repeated, 'line')} with an equal one")
    if times:
        notes.append(
            f"{table} has columns that may be times but are not read; to read them, set "
            + " ".join(times)
        )
    kept = []
    for duplicates in of_key.values():
        row = duplicates[0][1]
        for _, other in duplicates[1:]:
            # each duplicate may fill in what the others leave empty
            row = replace(row, group=row.group or other.group, fold=row.fold or other.fold,
                          split=row.split or other.split)  # fmt: skip
        kept.append(row)
    return kept, notes


# empty cells as R, pandas and people write them
_EMPTY = frozenset({"", "na", "n/a", "nan", "-", "none", "null"})
_NUMBER = re.compile(r"^([0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE]([+-]?[0-9]+))?\s*(s|ms|min|h)?$")
_CLOCK = re.compile(r"^(?:([0-9]+):)?([0-9]{1,4}):([0-9]{1,2}(?:[.,][0-9]*)?)$")
_FRAMES = re.compile(r"^[0-9]+:[0-9]+:[0-9]+[:;][0-9]+$")  # SMPTE timecode, needs a frame rate
_LONGEST_S = 1e9  # about 32 years
_UNITS_S = {None: 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}


def parse_time_s(text: str) -> float | None:
    """Seconds of "12.5", "12,5", "1:02.5", "00:01:02.500", "1500 ms"; None for nothing.

    Raises ValueError with the reason if it is not a time.
    """
    text = text.strip()
    if text.lower() in _EMPTY:
        return None
    # regular expressions, since float() accepts "1_0", "inf" and "nan"
    number, clock = _NUMBER.match(text), _CLOCK.match(text)
    if number is not None:
        value = float(number[1].replace(",", ".") + (f"e{number[2]}" if number[2] else ""))
        seconds = value * _UNITS_S[number[3]]
    elif clock is not None:
        hours, minutes, rest = int(clock[1] or 0), int(clock[2]), float(clock[3].replace(",", "."))
        if rest >= 60 or (clock[1] and minutes >= 60):
            raise ValueError(f"'{text}' is not a time: 60 or more in minutes or seconds")
        seconds = 3600.0 * hours + 60.0 * minutes + rest
    elif _FRAMES.match(text):
        raise ValueError(f"'{text}' ends in a frame number; write hh:mm:ss.mmm")
    elif "," in text and "." in text:
        raise ValueError(f"'{text}' has both . and ,; write 1234.5")
    else:
        raise ValueError(f"'{text}' is not a time in seconds (or mm:ss, hh:mm:ss.mmm)")
    if seconds > _LONGEST_S:
        raise ValueError(f"'{text}' is not a time: more than {_LONGEST_S:g} s")
    return round(seconds, 6)  # as the manifest stores it, or the row would not match
