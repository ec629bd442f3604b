"""CSV cells that are safe to open in a spreadsheet (protection against formula injection).

Spreadsheets interpret a cell that begins with = + - @ or a control character as a formula. Such a
cell is written with a leading apostrophe, which marks it as text, and read back without it. Numbers
keep their sign.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

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
