"""Cells of our CSV tables: text of strangers must stay text when a spreadsheet opens the table.

A spreadsheet takes a cell that begins with = + - @ (or a control character) for a formula. Such a
cell gets an apostrophe in front, which spreadsheets take for "this is text"; reading the table back
removes it again. Numbers keep their sign.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape_formula(text: str) -> str:
    """The cell as it is written."""
    return "'" + text if _starts_formula(text.lstrip("'")) else text


def unescape_formula(cell: str) -> str:
    """The text that was written: the inverse of `guarded`."""
    return cell[1:] if cell[:1] == "'" and _starts_formula(cell.lstrip("'")) else cell


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The text of a CSV file: the header as it is, the rows' cells guarded."""
    buffer = io.StringIO()
    plain = csv.writer(buffer, lineterminator="\n")
    quoted = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for line in (header, *([escape_formula(cell) for cell in row] for row in rows)):
        # csv sees no end of a line in a carriage return when it writes, but does when it reads
        (quoted if any("\r" in cell for cell in line) else plain).writerow(line)
    return buffer.getvalue()


def _starts_formula(text: str) -> bool:
    return text.startswith(_FORMULA) and not _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
