import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from data_prep.csv_safety import csv_text, escape_formula, unescape_formula

TEXT = st.text(max_size=6) | st.text("'=+-@1.e\t\r\nx\",", max_size=6)


@given(TEXT)
def test_reading_back_gives_what_was_written(text: str) -> None:
    assert unescape_formula(escape_formula(text)) == text


@given(TEXT)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = escape_formula(text)
    if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        float(cell)  # a number, which keeps its sign


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=4))
def test_a_table_reads_back_whatever_its_cells_hold(rows: list[list[str]]) -> None:
    header, *found = csv.reader(io.StringIO(csv_text(["a", "b"], rows), newline=""))
    assert header == ["a", "b"]
    assert [[unescape_formula(cell) for cell in row] for row in found] == rows


def test_examples() -> None:
    assert escape_formula("=1+1") == "'=1+1"
    assert escape_formula("-3.5") == "-3.5"
    assert escape_formula("it's") == "it's"
