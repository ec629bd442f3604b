"""Label format: a table of files or labelled segments, as CSV or TSV."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data_prep.annotations.columns import (
    Columns,
    find_columns,
    is_header,
    other_annotators,
    unused_time_columns,
)
from data_prep.annotations.listing import Listing, label_notes
from data_prep.annotations.paths import FileFinder
from data_prep.annotations.segments import Annotators, merge_segments
from data_prep.csv_table import TABLE_ENDINGS, lines_text, normal_name, read_table
from data_prep.manifest import (
    COLUMNS,
    ManifestRow,
    merged_label_notes,
    normal_split,
    normalise_label,
    similar_label_notes,
)
from data_prep.segments import LabelledSegment
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
    """A row for every file of a table of labelled segments, or of series of numbers.

    Raises DataSetError.
    """
    listing = list_table(path, settings, needs_label=True, in_time=in_time)
    if in_time.target is None:
        labels = {segment.label for row in listing.rows for segment in row.all_segments}
        return Listing(listing.rows, [*listing.notes, *similar_label_notes(labels)])
    finder = FileFinder(path.absolute().parent)
    rows = [_with_numbers(row, path, in_time.target, finder) for row in listing.rows]
    return Listing(rows, listing.notes)


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
    if in_time is not None:
        of_files = _label_of_files(table, read.names, labels, in_time)
        labels, in_time = (labels, in_time) if of_files is None else (of_files, None)
    columns = find_columns(table, read, labels, needs_label, in_time is not None)
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
        _refuse_without_times(table, rows, times, read.names)
        names = {n: normalise_label(columns.cell("annotator", each)) for n, each in read.rows}
        annotators = Annotators(names, labels.annotator, other_annotators(read, columns))
        kept, notes = merge_segments(table, rows, in_time, annotators=annotators)
    notes = [*read.notes, *finder.note(table), *([ambiguous] if ambiguous else []), *notes]
    unlabelled = [line for line, row in rows if not row.label]
    if needs_label and unlabelled:
        notes.append(f"{table}: {lines_text(unlabelled)} no label and cannot be used for training")
    named_empty = [line for line, row in rows if row.label.lower() in _NO_VALUE]
    if named_empty:
        notes.append(
            f"{table}, {lines_text(named_empty, '', '').strip()}: the label "
            f"'{dict(rows)[named_empty[0]].label}' is read as the name of a class; leave the cell "
            "empty if the label is unknown"
        )
    if needs_label:
        notes += merged_label_notes(columns.raw_cell("label", cells) for _, cells in read.rows)
    return Listing(kept, notes)


def _label_of_files(
    table: Path, names: Sequence[str], labels: LabelSettings, task: TaskSettings
) -> LabelSettings | None:
    """The settings that read one label for each file, its list of events or the name of its CSV.

    None if the lines are segments. Raises DataSetError.
    """
    if task.target is not None:
        if normal_name(task.target) not in map(normal_name, names):
            raise DataSetError(
                f"task.target={task.target}: {table} has no such column; its columns are: "
                f"{', '.join(names)}"
            )
        return labels.model_copy(update={"column": task.target})
    lists = next((name for name in names if normal_name(name) == _EVENTS), None)
    if task.name != _EVENTS or lists is None or labels.column not in (None, lists):
        return None
    if labels.column is None and any(normal_name(name) == "label" for name in names):
        raise DataSetError(
            f"{table} has the columns label and {lists}; say which one holds the events with "
            f"labels.column=label or labels.column={lists}"
        )
    return labels.model_copy(update={"column": lists})


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
    table: Path, rows: Sequence[tuple[int, ManifestRow]], times: list[str], names: Sequence[str]
) -> None:
    """Raise DataSetError if a table of labels in time has no times."""
    if all(row.start_s is None and row.end_s is None for _, row in rows):
        hint = (
            f": {' '.join(times)}"
            if times
            else f": fill in start_s and end_s, in seconds. Its columns are: {', '.join(names)}"
        )
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
_NO_VALUE = frozenset({"nan", "null", "n/a"})
_EMPTY = _NO_VALUE | {"", "na", "-", "none"}
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


_TIME_COLUMNS = ("time_s", "start_s")


def _with_numbers(row: ManifestRow, table: Path, target: str, finder: FileFinder) -> ManifestRow:
    """The row with the numbers of the CSV that its label names. Raises DataSetError."""
    if row.start_s is not None or row.end_s is not None:
        raise DataSetError(
            f"{table}: {row.path} has times; with task.target={target}, a line names a whole file"
        )
    if not row.label:
        return row
    series = Path(finder.find(row.label))
    if not series.is_file():
        raise DataSetError(f"{table}: {target} of {row.path}: there is no file {series}")
    return replace(row, label=normalise_label(target), segments=read_numbers(series))


def read_numbers(path: Path) -> tuple[LabelledSegment, ...]:
    """The known numbers of a CSV as point events, whose labels are the numbers.

    It has one column, with a number for each second, or one more with their times in seconds. Empty
    cells are unknown. Raises DataSetError naming the line.
    """
    if not path.stat().st_size:
        raise DataSetError(f"{path} is empty; it needs a header line and numbers below it")
    read = read_table(path, bool, strict=True)  # the first line is the header
    time, column = _series_columns(path, read.names)
    found, last_s = [], -math.inf
    for line, cells in read.rows:
        try:
            # lines that are blank, and so not in read.rows, are seconds without a number
            start_s = float(line - read.header_line - 1) if time is None else _time_s(cells[time])
            if start_s <= last_s:
                raise ValueError(
                    f"the time {start_s:g} s is not after the one before, {last_s:g} s"
                )
            last_s, number = start_s, _number(cells[column])
        except ValueError as error:
            raise DataSetError(f"{path}, line {line}: {error}") from error
        if number is not None:
            where = f"{path.name}, line {line}"
            found.append(LabelledSegment(start_s, start_s, repr(number), where=where))
    if not found:
        raise DataSetError(f"{path} has a header but no number below it")
    return tuple(found)


def _series_columns(path: Path, names: Sequence[str]) -> tuple[str | None, str]:
    """(column of times or None, column of numbers). Raises DataSetError."""
    if all(_NUMBER.match(name.lstrip("+-")) for name in names):
        raise DataSetError(f"{path}: the first line is a number; it must be the name of the column")
    time = next((name for name in names if normal_name(name) in _TIME_COLUMNS), None)
    others = [name for name in names if name and name != time]
    if len(others) != 1:
        has = "several columns of numbers" if others else "no column of numbers"
        raise DataSetError(
            f"{path} has {has} ({', '.join(names)}); it needs one, and may have a column time_s"
        )
    return time, others[0]


def _time_s(text: str) -> float:
    time_s = parse_time_s(text)
    if time_s is None:
        raise ValueError("the time is empty")
    return time_s


def _number(text: str) -> float | None:
    """A finite number; None for an empty cell. Raises ValueError for anything else."""
    text = text.strip()
    if text.lower() in _EMPTY:
        return None
    try:
        # not float() alone, which accepts "1_0", "inf" and "nan"
        number = float("_" if "_" in text else text.replace(",", "."))
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is not a number")
    return number
