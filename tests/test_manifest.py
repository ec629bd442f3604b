import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.dataset.manifest import (
    ManifestRow,
    clip_id,
    read_manifest,
    read_table,
    with_file_facts,
    write_manifest,
)
from data_prep.status import DataSetError, Status

# What a cell may hold: no surrogates, no NUL, no outer blanks
cells = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\r\n\t"), max_size=20
).map(str.strip)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6, unique_by=lambda t: t[0]))
def test_rows_survive_a_round_trip(tmp_path_factory, values) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.csv"
    rows = [
        ManifestRow(f"/v/{name},;\"'", 1.5, None, label, group, status=Status.PARTIAL,
                    error="a, \"b\"", duration_s=2.25, has_video=True, has_audio=False,
                    size_bytes=7, mtime=1.25, id="x", extra={"day": label})
        for name, label, group in values
    ]  # fmt: skip
    write_manifest(path, rows)
    assert sorted(read_manifest(path), key=lambda r: r.path) == sorted(rows, key=lambda r: r.path)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_any_spreadsheets_csv_is_read(tmp_path, newline: str, bom: bytes, separator: str) -> None:
    path = tmp_path / "t.csv"
    lines = [separator.join(cells) for cells in (("path", "label"), ("ä b.mp4", "größe"))]
    path.write_bytes(bom + (newline.join(lines) + newline).encode())
    assert [cells for _, cells in read_table(path)] == [{"path": "ä b.mp4", "label": "größe"}]


def test_missing_column_names_those_there_are(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,label\na,b\n")
    with pytest.raises(DataSetError, match="no column 'path'; its columns are: file, label"):
        read_table(path)


def test_a_bad_cell_names_its_line(tmp_path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ManifestRow("/a")])
    path.write_text(path.read_text().replace(",ok,", ",fine,"))
    with pytest.raises(DataSetError, match="line 2: status 'fine' is none of ok"):
        read_manifest(path)


def test_a_changed_file_is_another_clip(tmp_path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    row = with_file_facts(ManifestRow(str(path)))
    assert row.id == clip_id(row)
    os.utime(path, (1, 1))
    assert with_file_facts(row).id != row.id
    assert with_file_facts(ManifestRow(str(path), start_s=1.0)).id != with_file_facts(row).id


def test_bytes_that_are_no_text_name_their_line(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"path,label\na.mp4,gr\xf6n\n")
    with pytest.raises(DataSetError, match="line 2: not UTF-8"):
        read_table(path, strict=True)


def test_a_misspelt_split_is_refused_and_a_spelling_is_normal(tmp_path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ManifestRow("/a", split="Validation")])
    assert read_manifest(path)[0].split == "val"
    write_manifest(path, [ManifestRow("/a", split="tset")])
    with pytest.raises(DataSetError, match="line 2: split 'tset'"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("start_s", "end_s", "duration_s", "planned_s"),
    [
        (None, None, 30.0, 30.0), (28.0, 99.0, 30.0, 2.0), (1.0, 3.0, 30.0, 2.0),
        (1.0, 3.0, None, 2.0), (40.0, 50.0, 30.0, 0.0), (None, None, None, None),
    ],
)  # fmt: skip
def test_a_clip_is_no_longer_than_its_file(start_s, end_s, duration_s, planned_s) -> None:
    row = ManifestRow("a.mp4", start_s=start_s, end_s=end_s, duration_s=duration_s)
    assert row.planned_duration_s == planned_s
