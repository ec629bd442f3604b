"""Reading of users' CSV tables, and safe writing of our own.

Reading detects encoding, delimiter and header line. Writing escapes cells that a spreadsheet would
read as a formula (= + - @ or a control character in front): they get a leading apostrophe, which
marks text and is removed when the table is read back. Numbers keep their sign.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from data_prep.status import DataSetError, counted

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def escape_formula(text: str) -> str:
    """The cell for a text, with an apostrophe if a spreadsheet would read a formula."""
    # text that begins with apostrophes itself gets one more, so that reading is unambiguous
    return "'" + text if _starts_formula(text.lstrip("'")) else text


def unescape_formula(cell: str) -> str:
    """The text of a cell: the inverse of `escape_formula`."""
    return cell[1:] if cell[:1] == "'" and _starts_formula(cell.lstrip("'")) else cell


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The text of a CSV file: the header unchanged, the cells of the rows escaped."""
    buffer = io.StringIO()
    plain = csv.writer(buffer, lineterminator="\n")
    quoted = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for line in (header, *([escape_formula(cell) for cell in row] for row in rows)):
        # the csv module does not quote a bare carriage return, but reads it as the end of a line
        (quoted if any("\r" in cell for cell in line) else plain).writerow(line)
    return buffer.getvalue()


def _starts_formula(text: str) -> bool:
    return text.startswith(_FORMULA_PREFIXES) and not _is_number(text)  # −3 is not a formula


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".txt")
_WORKBOOKS = (".xlsx", ".xls", ".ods", ".numbers")
_SEPARATORS = "\t;,|"
_MAX_HEADER_LINE = 20  # titles and comments may precede the header
_SAMPLE_LINES = 200
_MAX_NAMED = 5
_SEP_LINE = re.compile(r'^"?sep=(.)"?[,;\t]*$', re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A parsed table.

    names  columns as written
    rows   (line number, {column: cell})
    notes  remarks for the user
    header_line  line number of the names
    """

    names: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    notes: list[str] = field(default_factory=list)
    header_line: int = 1


def normal_name(name: str) -> str:
    """A column name normalised for comparison: case-folded, with underscores.

    Seconds in brackets become a suffix: "Start (s)" equals "start_s", but not "start".
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # invisible: BOM, zero width
    text = re.sub(r"[\(\[]\s*(s|sec|seconds?)\s*[\)\]]", " s", text)
    return re.sub(r"[\s_.\-]+", "_", text.strip()).strip("_")


def read_table(
    path: Path,
    is_header: Callable[[Sequence[str]], bool],
    encoding: str | None = None,
    strict: bool = False,
) -> Table:
    """Read a table. Raises DataSetError naming the faulty lines.

    is_header: whether a line's cells are the column names. encoding: None for UTF-8, or UTF-16 if
    detected. strict: undecodable bytes are an error; otherwise they are kept by surrogateescape,
    as in file names.
    """
    if path.suffix.lower() in _WORKBOOKS:
        raise DataSetError(f"{path} is a workbook; save its sheet as CSV (UTF-8) and use that file")
    text = _text(path, encoding, strict)
    if not text.strip():
        raise DataSetError(f"{path} is empty; it needs a header line with at least path,label")
    first, _, rest = text.partition("\n")
    sep_line = _SEP_LINE.match(first.strip().replace("\\t", "\t"))
    skipped = 0
    if sep_line is not None:  # Excel writes "sep=;" to declare the delimiter
        text, skipped = rest, 1
    separator = sep_line[1] if sep_line else _separator(path, text, is_header)
    records = _records(path, text, separator, skipped)
    header = next(
        (k for k, (_, cells) in enumerate(records[:_MAX_HEADER_LINE]) if is_header(cells)), 0
    )
    if not records:
        raise DataSetError(f"{path} is empty; it needs a header line with at least path,label")
    names = [name.strip().strip("\ufeff\u200b") for name in records[header][1]]
    notes = []
    if header:
        notes.append(
            f"{path}: skipped {counted(header, 'line')} above the header "
            f"(line {records[header][0]})"
        )
    rows = _rows(path, names, records[header + 1 :], notes)
    return Table(tuple(names), rows, notes, records[header][0])


def _text(path: Path, encoding: str | None, strict: bool) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error.strerror}") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"  # the byte order mark is more reliable than the setting
    elif encoding is None and data[:512].count(0) > min(len(data), 512) // 4:
        # no byte order mark, but UTF-16: every other byte of ASCII text is zero
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    errors = "strict" if strict or encoding else "surrogateescape"
    try:
        text = data.decode(encoding or "utf-8-sig", errors)
    except LookupError as error:
        raise DataSetError(f"labels.encoding={encoding} is not a known encoding") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n")
        shown = data.split(b"\n")[line].decode("cp1252", "replace").strip()
        raise DataSetError(
            f"{path}, line {line + 1}: not UTF-8; in cp1252 (Excel on Windows) it reads '{shown}'. "
            "If that is right, set labels.encoding=cp1252; otherwise save the file as UTF-8"
        ) from error
    return text.removeprefix("\ufeff")


def _separator(path: Path, text: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    """The delimiter under which the header is recognised and most lines are as wide as it."""
    best: tuple[tuple[bool, float, int], str] = ((False, 0.0, 0), ",")
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator,
                            skipinitialspace=True)  # fmt: skip
        try:
            records = [cells for cells in islice(reader, _SAMPLE_LINES) if any(cells)]
        except csv.Error:
            continue
        header = next(
            (k for k, cells in enumerate(records[:_MAX_HEADER_LINE]) if is_header(cells)), None
        )
        width = len(records[header or 0]) if records else 0
        below = records[(header or 0) + 1 :]
        share = sum(len(cells) == width for cells in below) / max(1, len(below))
        # a wrong delimiter gives one column throughout, which is consistent but means nothing
        score = (header is not None, share if width > 1 else 0.0, width)
        if score > best[0]:
            best = score, separator
    return best[1]


def _records(path: Path, text: str, separator: str, skipped: int) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every record that is not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    records, line = [], skipped + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((line, cells))
            line = reader.line_num + skipped + 1  # where the next record starts: cells may wrap
    except csv.Error as error:
        problem = f"line {line}: {error}"
        if "end of data" in str(error):
            problem = f"line {line}: a quote is opened and never closed"
        raise DataSetError(f"{path}, {problem}") from error
    return records


def _rows(
    path: Path, names: Sequence[str], records: list[tuple[int, list[str]]], notes: list[str]
) -> list[tuple[int, dict[str, str]]]:
    rows, too_wide, n_repeated = [], [], 0
    for line, cells in records:
        if [cell.strip() for cell in cells] == list(names):
            n_repeated += 1  # concatenated tables repeat the header
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            too_wide.append(line)
            continue
        filled = [*cells, *[""] * (len(names) - len(cells))]  # editors drop empty cells at the end
        row: dict[str, str] = {}
        for name, cell in zip(names, filled, strict=False):
            if name and name not in row:  # of columns with the same name, the first counts
                row[name] = cell
        rows.append((line, row))
    if too_wide:
        raise DataSetError(
            f"{path}: {lines_text(too_wide)} more cells than the header's {len(names)}; quote "
            "cells that contain the separator"
        )
    if n_repeated:
        notes.append(f"{path}: skipped {counted(n_repeated, 'line')} equal to the header")
    return rows


def lines_text(lines: Sequence[int], verb: str = "has", verbs: str = "have") -> str:
    """Line numbers in words: "line 7 has", "lines 7, 9 and 12 more have"."""
    if len(lines) == 1:
        return f"line {lines[0]} {verb}"
    named = ", ".join(map(str, lines[:_MAX_NAMED]))
    more = f" and {len(lines) - _MAX_NAMED} more" if len(lines) > _MAX_NAMED else ""
    return f"lines {named}{more} {verbs}"
