import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.manifest import (
    ManifestRow,
    clip_id,
    normalise_label,
    read_manifest,
    with_file_facts,
    write_manifest,
)
from data_prep.status import DataSetError, Status

# What a cell may hold: no surrogates, no NUL, no outer blanks
cells = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\r\n\t"), max_size=20
).map(normalise_label)


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


def test_a_bad_cell_names_its_line(tmp_path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ManifestRow("/a")])
    path.write_text(path.read_text().replace(",ok,", ",fine,"))
    with pytest.raises(DataSetError, match="line 2: status 'fine' is not one of ok"):
        read_manifest(path)


def test_a_changed_file_is_another_clip(tmp_path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    row = with_file_facts(ManifestRow(str(path)))
    assert row.id == clip_id(row)
    os.utime(path, (1, 1))
    assert with_file_facts(row).id != row.id
    assert with_file_facts(ManifestRow(str(path), start_s=1.0)).id != with_file_facts(row).id


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


@pytest.mark.parametrize("how", ["german excel", "utf-16", "pandas"])
def test_a_manifest_that_another_program_saved_is_read(tmp_path, how: str) -> None:
    path = tmp_path / "manifest.csv"
    row = ManifestRow("/v/a.mp4", 1.5, 2.5, "deer", "cam1", duration_s=9.25, width_px=64,
                      has_video=True, mtime=12.5, size_bytes=7)  # fmt: skip
    write_manifest(path, [row])
    text = path.read_text()
    if how == "german excel":
        cells = [line.split(",") for line in text.splitlines()]
        text = "\n".join(";".join(cell.replace(".", ",") if cell[:1].isdigit() else cell
                                  for cell in line) for line in cells)  # fmt: skip
    elif how == "pandas":
        text = text.replace(",64,", ",64.0,").replace(",yes,", ",True,")
    path.write_bytes(text.encode("utf-16" if how == "utf-16" else "utf-8"))
    (read,) = read_manifest(path)
    assert read == row


@pytest.mark.parametrize(
    ("name", "text"), [("start_s", "-3"), ("end_s", "nan"), ("width_px", "inf")]
)
def test_numbers_that_cannot_be_name_their_line(tmp_path, name: str, text: str) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ManifestRow("/a")])
    header, line = path.read_text().splitlines()
    cells = line.split(",")
    cells[header.split(",").index(name)] = text
    path.write_text(f"{header}\n{','.join(cells)}\n")
    with pytest.raises(DataSetError, match=f"line 2: {name} '{text}' is out of range"):
        read_manifest(path)


def test_a_column_whose_name_holds_many_separators_does_not_hide_the_others(tmp_path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ManifestRow("/a", extra={";".join("abcdefghijklmnopqrstuvwxyz"): "1"})])
    assert read_manifest(path)[0].path == "/a"
