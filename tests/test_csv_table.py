"""

Tables of every program: what separates, what encodes, where the header is.
"""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.csv_table import csv_text, escape_formula, normal_name, read_table, unescape_formula
from data_prep.status import DataSetError

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


def has_path(names) -> bool:
    return any(normal_name(name) == "path" for name in names)


def read(path, text, encoding: str = "utf-8", **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(path, has_path, **options)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_spreadsheets_csv_is_read(tmp_path, newline: str, bom: bytes, separator: str) -> None:
    lines = [separator.join(cells) for cells in (("path", "label"), ("ä b.mp4", "größe"))]
    table = read(tmp_path / "t.csv", bom + (newline.join(lines) + newline).encode())
    assert [cells for _, cells in table.rows] == [{"path": "ä b.mp4", "label": "größe"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path;label;note, long, text\na.mp4;deer;b, c, d\n", {"path": "a.mp4", "label": "deer"}),
        ('path,label,"a;b;c;d"\na.mp4,deer,x\n', {"path": "a.mp4", "label": "deer"}),
        ("sep=;\npath;label\na.mp4;deer\n", {"path": "a.mp4", "label": "deer"}),
        ('"sep=,"\npath,label\na.mp4,deer\n', {"path": "a.mp4", "label": "deer"}),
        ('path, label\na.mp4, "deer, red"\n', {"path": "a.mp4", "label": "deer, red"}),
        ("Survey 2024\n\npath,label\na.mp4,deer\n", {"path": "a.mp4", "label": "deer"}),
        ("path,label,,\na.mp4,deer,,\n", {"path": "a.mp4", "label": "deer"}),
        ('path,label\na.mp4,"de\ner"\n', {"path": "a.mp4", "label": "de\ner"}),
    ],
)
def test_the_separator_is_found_by_parsing(tmp_path, text: str, expected: dict) -> None:
    table = read(tmp_path / "t.csv", text)
    (row,) = [cells for _, cells in table.rows]
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_what_excel_calls_unicode_text_is_read(tmp_path, encoding: str) -> None:
    table = read(tmp_path / "t.txt", "path\tlabel\na.mp4\tFüchse\n", encoding)
    assert table.rows == [(2, {"path": "a.mp4", "label": "Füchse"})]


def test_bytes_that_are_no_utf8_name_their_line_and_a_way_to_read_them(tmp_path) -> None:
    text = "path,label\na.mp4,Füchse\n"
    with pytest.raises(DataSetError, match=r"line 2: not UTF-8.*'a.mp4,Füchse'.*encoding=cp1252"):
        read(tmp_path / "t.csv", text, "cp1252", strict=True)
    told = read_table(tmp_path / "t.csv", has_path, "cp1252")
    assert told.rows[0][1]["label"] == "Füchse"
    with pytest.raises(DataSetError, match=r"labels.encoding=cp9999 is not a known encoding"):
        read_table(tmp_path / "t.csv", has_path, "cp9999")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\nmy, file.mp4,deer\n", "line 2 has more cells than the header's 2"),
        ('path,label\na.mp4,deer\n"b.mp4,deer\n', "line 3: a quote is opened and never"),
        ("", "is empty"),
    ],
)
def test_lines_that_would_change_or_vanish_are_errors(tmp_path, text: str, says: str) -> None:
    with pytest.raises(DataSetError) as caught:
        read(tmp_path / "t.csv", text)
    assert says in str(caught.value)


def test_a_header_that_comes_again_is_no_row(tmp_path) -> None:
    table = read(tmp_path / "t.csv", "path,label\na.mp4,deer\npath,label\nb.mp4,fox\n")
    assert [cells["label"] for _, cells in table.rows] == ["deer", "fox"]
    assert table.notes == [f"{tmp_path / 't.csv'}: skipped 1 line equal to the header"]


def test_a_workbook_is_answered(tmp_path) -> None:
    with pytest.raises(DataSetError, match=r"is a workbook; save its sheet as CSV"):
        read(tmp_path / "t.xlsx", b"PK")


@pytest.mark.parametrize(
    ("first", "second"),
    [("Path", "path"), ("Start (s)", "start_s"), ("START S", "start_s"), ("\u200blabel", "label")],
)
def test_a_name_is_the_same_in_other_spelling(first: str, second: str) -> None:
    assert normal_name(first) == normal_name(second)


def test_a_name_without_its_unit_is_another() -> None:
    assert normal_name("start") != normal_name("start_s")
