"""Columns of other people's tables: found by name, by key, or suggested; never guessed."""

from functools import partial

import pytest

from data_prep.annotations.columns import find_columns, is_header
from data_prep.csv_table import read_table
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError


def columns(path, text: str, **keys):
    path.write_text(text)
    settings = LabelSettings(**keys)
    return find_columns(path, read_table(path, partial(is_header, settings)), settings, True)


@pytest.mark.parametrize("header", ["path,label", "Path,Label", " PATH ,label", "path,\u200blabel"])
def test_own_names_are_taken_in_any_spelling(tmp_path, header: str) -> None:
    found = columns(tmp_path / "t.csv", f"{header}\na.mp4,deer\n")
    assert set(found.of) == {"path", "label"}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("path,species", "labels.column=species"),
        ("path,class", "labels.column=class"),
        ("filename,category", "labels.path_column=filename labels.column=category"),
        ("Media file name,Behavior", "labels.path_column='Media file name' labels.column=Behavior"),
        ("path,what", "labels.column=what"),
    ],
)
def test_likely_columns_are_suggested_as_keys_to_write(tmp_path, header: str, says: str) -> None:
    lines = "\n".join(["a.mp4,deer", "b.mp4,deer", "c.mp4,fox", "d.mp4,fox"])
    with pytest.raises(DataSetError) as caught:
        columns(tmp_path / "t.csv", f"{header}\n{lines}\n")
    assert says in str(caught.value)
    assert "its columns are: " + ", ".join(header.split(",")) in str(caught.value)


def test_keys_choose_columns_and_pieces_of_a_path(tmp_path) -> None:
    found = columns(
        tmp_path / "t.csv", "RelativePath,File,Species,Begin,End\nx,a.mp4,deer,1,2\n",
        path_column="RelativePath/File", column="Species", start_column="Begin", end_column="End",
    )  # fmt: skip
    cells = {"RelativePath": "x", "File": "a.mp4", "Species": "deer", "Begin": "1", "End": "2"}
    assert found.cell("path", cells) == "x/a.mp4"
    assert [found.cell(own, cells) for own in ("label", "start_s", "end_s")] == ["deer", "1", "2"]


def test_a_key_that_names_no_column_is_an_error(tmp_path) -> None:
    with pytest.raises(
        DataSetError, match=r"labels.column=race: .* its columns are: path, species"
    ):
        columns(tmp_path / "t.csv", "path,species\na.mp4,deer\n", column="race")


def test_times_of_other_recordings_are_not_taken(tmp_path) -> None:
    """UrbanSound8K's start and end lie in the recording that the slice was cut from."""
    found = columns(tmp_path / "t.csv", "path,start,end,label\na.wav,1,2,dog\n")
    assert "start_s" not in found.of
    assert "end_s" not in found.of
