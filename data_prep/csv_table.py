"""Tables that people write: encoding, separator and header are found by parsing."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from data_prep.status import DataSetError

TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".txt")
_WORKBOOKS = (".xlsx", ".xls", ".ods", ".numbers")
_SEPARATORS = "\t;,|"
_HEADER_WITHIN = 20  # lines: titles and comments may stand above it
_LOOKED_AT = 200
_MOST_NAMED = 5
_SEP_LINE = re.compile(r'^"?sep=(.)"?[,;\t]*$', re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """names: the columns as written; rows: (line number, cells by column name)."""

    names: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    notes: list[str] = field(default_factory=list)


def normal_name(name: str) -> str:
    """A column's name for comparing: lower case, underscores, no unit in brackets but seconds.

    "Start (s)" and "start_s" are one, "Path" and "path" are, "start" alone is another.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = re.sub(r"[\(\[]\s*(s|sec|seconds?)\s*[\)\]]", " s", text)
    return re.sub(r"[\s_.\-]+", "_", text.strip()).strip("_")


def read_table(
    path: Path,
    is_header: Callable[[Sequence[str]], bool],
    encoding: str | None = None,
    strict: bool = False,
) -> Table:
    """The lines of a table under its header. Raises DataSetError naming the lines that are wrong.

    is_header: whether these names are those of the columns. encoding: None for UTF-8 or UTF-16 as
    the file itself tells. strict: bytes that are no text are an error, not part of a file's name.
    """
    if path.suffix.lower() in _WORKBOOKS:
        raise DataSetError(f"{path} is a workbook; save its sheet as CSV (UTF-8) and give that")
    text = _text(path, encoding, strict)
    if not text.strip():
        raise DataSetError(f"{path} is empty; it needs a header line with at least path,label")
    first, _, rest = text.partition("\n")
    told = _SEP_LINE.match(first.strip().replace("\\t", "\t"))
    skipped = 0
    if told is not None:  # Excel's own line
        text, skipped = rest, 1
    separator = told[1] if told else _separator(path, text, is_header)
    records = _records(path, text, separator, skipped)
    at = next((k for k, (_, cells) in enumerate(records[:_HEADER_WITHIN]) if is_header(cells)), 0)
    if not records:
        raise DataSetError(f"{path} is empty; it needs a header line with at least path,label")
    names = [name.strip().strip("\ufeff\u200b") for name in records[at][1]]
    notes = []
    if at:
        notes.append(f"{path}: {at} lines above the header (line {records[at][0]}) are passed over")
    return Table(tuple(names), _rows(path, names, records[at + 1 :], notes), notes)


def _text(path: Path, encoding: str | None, strict: bool) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error.strerror}") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif encoding is None and data[:512].count(0) > min(len(data), 512) // 4:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    errors = "strict" if strict or encoding else "surrogateescape"
    try:
        text = data.decode(encoding or "utf-8-sig", errors)
    except LookupError as error:
        raise DataSetError(f"labels.encoding={encoding} is no encoding that is known") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n")
        shown = data.split(b"\n")[line].decode("cp1252", "replace").strip()
        raise DataSetError(
            f"{path}, line {line + 1}: not UTF-8; in cp1252 (Excel on Windows) it reads '{shown}'. "
            "If that is right: labels.encoding=cp1252; else save the file as UTF-8"
        ) from error
    return text.removeprefix("\ufeff")


def _separator(path: Path, text: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    """The one under which the header is one and most lines have as many cells."""
    best: tuple[tuple[bool, float, int], str] = ((False, 0.0, 0), ",")
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator,
                            skipinitialspace=True)  # fmt: skip
        try:
            records = [cells for cells in islice(reader, _LOOKED_AT) if any(cells)]
        except csv.Error:
            continue
        at = next((k for k, cells in enumerate(records[:_HEADER_WITHIN]) if is_header(cells)), None)
        width = len(records[at or 0]) if records else 0
        below = records[(at or 0) + 1 :]
        even = sum(len(cells) == width for cells in below) / max(1, len(below))
        merit = (at is not None, even if width > 1 else 0.0, width)
        if merit > best[0]:
            best = merit, separator
    return best[1]


def _records(path: Path, text: str, separator: str, skipped: int) -> list[tuple[int, list[str]]]:
    """(line, cells) of every line that holds anything."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    records, line = [], skipped + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((line, cells))
            line = reader.line_num + skipped + 1
    except csv.Error as error:
        what = f"line {line}: {error}"
        if "end of data" in str(error):
            what = f"line {line}: a quote is opened there and never closed"
        raise DataSetError(f"{path}, {what}") from error
    return records


def _rows(
    path: Path, names: Sequence[str], records: list[tuple[int, list[str]]], notes: list[str]
) -> list[tuple[int, dict[str, str]]]:
    rows, wide, again = [], [], 0
    for line, cells in records:
        if [cell.strip() for cell in cells] == list(names):
            again += 1  # tables that were joined one behind the other
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            wide.append(line)
            continue
        filled = [*cells, *[""] * (len(names) - len(cells))]
        row: dict[str, str] = {}
        for name, cell in zip(names, filled, strict=False):
            if name and name not in row:
                row[name] = cell
        rows.append((line, row))
    if wide:
        raise DataSetError(
            f"{path}: {lines_text(wide)} more cells than the header's {len(names)}; put text that "
            "holds the separator in quotes"
        )
    if again:
        notes.append(f"{path}: {again} lines repeat the header and are passed over")
    return rows


def lines_text(lines: Sequence[int], verb: str = "has", verbs: str = "have") -> str:
    """ "line 7 has", "lines 7, 9 and 12 more have"."""
    if len(lines) == 1:
        return f"line {lines[0]} {verb}"
    named = ", ".join(map(str, lines[:_MOST_NAMED]))
    more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return f"lines {named}{more} {verbs}"
