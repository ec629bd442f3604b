"""

Times as people write them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.annotations import listing
from data_prep.annotations import table as table_format
from data_prep.annotations.paths import walk
from data_prep.annotations.table import parse_time_s
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError


def list_data_set(data, **labels):
    return listing.list_data_set(data, LabelSettings(**labels)).rows


def list_table(table, **labels):
    return table_format.list_table(table, LabelSettings(**labels)).rows


def test_folder_of_class_folders(tmp_path) -> None:
    for name in ("cat/a.mp4", "cat/deep/b.mp4", "dog/c.txt", "loose.mp4", ".hidden/x", "dog/.y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = {os.path.relpath(row.path, tmp_path): row.label for row in list_data_set(tmp_path)}
    assert rows == {
        "cat/a.mp4": "cat", "cat/deep/b.mp4": "cat", "dog/c.txt": "dog", "loose.mp4": "",
    }  # fmt: skip


def test_links_are_followed_and_loops_are_not(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").touch()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "link.mp4").symlink_to(tmp_path / "real" / "a.mp4")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    names = [path.name for path in walk(tmp_path / "cat")]
    assert names == ["link.mp4"]


def test_csv_paths_are_relative_to_the_csv(tmp_path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").touch()
    (tmp_path / "t.csv").write_text(
        "path;label;start_s;end_s;fold;split;day\nv/a.mp4;x;1,5;3;2;validation;mon\n"
    )
    (row,) = list_table(tmp_path / "t.csv")
    assert row.path == str(tmp_path / "v" / "a.mp4")
    assert (row.start_s, row.end_s, row.fold, row.split) == (1.5, 3.0, "2", "val")
    assert row.extra == {"day": "mon"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.mp4,x,5,3,", "line 2: end_s (3) must be after start_s (5)"),
        ("a.mp4,x,soon,,", "start_s 'soon' is not a time"),
        ("a.mp4,x,,,maybe", "split 'maybe' is not one of train, val, test"),
        (",x,,,", "the path is empty"),
        ("a.mp4,x,,,\na.mp4,y,,,", "twice for the same time (label x and y)"),
    ],
)
def test_mistakes_in_a_csv_are_named(tmp_path, line: str, says: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "t.csv").write_text(f"path,label,start_s,end_s,split\n{line}\n")
    with pytest.raises(DataSetError) as caught:
        list_table(tmp_path / "t.csv")
    assert says in str(caught.value)


def test_links_that_lead_back_to_themselves_get_a_row_and_stop_nothing(tmp_path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "here").symlink_to(tmp_path)
    (tmp_path / "c.mp4").write_bytes(b"x")
    assert [path.name for path in walk(tmp_path)] == ["a.mp4", "b.mp4", "c.mp4"]


def test_folders_may_lie_very_deep(tmp_path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("v.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert [path.name for path in walk(tmp_path)] == ["v.mp4"]


def files(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_all_lines_that_cannot_be_right_are_told_at_once(tmp_path) -> None:
    files(tmp_path, "a.mp4")
    rows = "\n".join(["a.mp4,x,3,2", ",x,,", "a.mp4,x,soon,", "a.mp4,y,5,6"])
    (tmp_path / "t.csv").write_text(f"path,label,start_s,end_s\n{rows}\n")
    with pytest.raises(
        DataSetError, match=r"line 2: end_s .3.*|line 3: the path is empty"
    ) as caught:
        list_table(tmp_path / "t.csv")
    assert all(f"line {k}:" in str(caught.value) for k in (2, 3, 4))
    assert "line 5" not in str(caught.value)


def test_labels_are_one_however_they_are_composed_and_padded(tmp_path) -> None:
    files(
        tmp_path,
        "deer/a.mp4",
        "deer /b.mp4",
        "Fu\u0308chse/c.mp4",
        "F\u00fcchse/d.mp4",
        "Deer/e.mp4",
    )
    found = listing.list_data_set(tmp_path)
    labels = {Path(row.path).name: row.label for row in found.rows}
    assert labels == {
        "a.mp4": "deer", "b.mp4": "deer", "c.mp4": "F\u00fcchse", "d.mp4": "F\u00fcchse",
        "e.mp4": "Deer",
    }  # fmt: skip
    assert any("'deer' is written in 2 ways" in note for note in found.notes)
    assert any("F\u00fcchse' is written in 2 ways" in note for note in found.notes)
    assert any("'Deer' and 'deer' differ only in case" in note for note in found.notes)


def test_folder_names_that_are_no_text_stay_apart(tmp_path) -> None:
    for name in (b"F\xfcchse", b"F\xf6chse"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "a.mp4").touch()
    assert len({row.label for row in list_data_set(tmp_path)}) == 2


def test_lines_that_say_the_same_are_one_and_contradictions_are_refused(tmp_path) -> None:
    files(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\na.wav,x,0,1\na.wav,x,0,1\n")
    found = table_format.list_table(tmp_path / "t.csv")
    assert len(found.rows) == 1
    assert any("merged 1 line with an equal one" in note for note in found.notes)
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\na.wav,x,0,1\na.wav,y,0,1\n")
    with pytest.raises(DataSetError, match=r"twice for the same time .label x and y., lines 2, 3"):
        list_table(tmp_path / "t.csv")


def test_columns_that_may_be_times_are_suggested(tmp_path) -> None:
    files(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text("path,label,start,end\na.wav,x,0,1\na.wav,y,1,2\n")
    with pytest.raises(DataSetError, match=r"labels.start_column=start labels.end_column=end"):
        list_table(tmp_path / "t.csv")
    rows = list_table(tmp_path / "t.csv", start_column="start", end_column="end")
    assert [(row.label, row.start_s, row.end_s) for row in rows] == [("x", 0, 1), ("y", 1, 2)]


def test_a_column_named_like_ours_is_kept_under_another_name(tmp_path) -> None:
    files(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text("path,label,status,id,note\na.wav,x,checked,7,dusk\n")
    (row,) = list_table(tmp_path / "t.csv")
    assert row.extra == {"data_status": "checked", "data_id": "7", "note": "dusk"}


def test_a_table_none_of_whose_files_is_there_is_no_data_set(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,x\n")
    with pytest.raises(DataSetError, match=r"none of its files exists .* labels.folder=FOLDER"):
        list_table(tmp_path / "t.csv")
    files(tmp_path, "else/a.wav")
    (row,) = list_table(tmp_path / "t.csv", folder=str(tmp_path / "else"))
    assert row.path == str(tmp_path / "else" / "a.wav")


@pytest.mark.parametrize("needs_label", [False, True])
def test_a_name_that_fits_several_files_stops_training_only(tmp_path, needs_label: bool) -> None:
    for name in ("Clip.mp4", "clip.MP4"):
        (tmp_path / name).touch()
    table = tmp_path / "list.csv"
    table.write_text("path,label\nclip.mp4,a\nClip.mp4,b\n")
    if needs_label:
        with pytest.raises(DataSetError, match="1 name matches several files"):
            table_format.list_table(table, needs_label=True)
    else:
        found = table_format.list_table(table)
        assert [Path(row.path).name for row in found.rows] == ["clip.mp4", "Clip.mp4"]
        assert any("'clip.mp4'" in note for note in found.notes)


def test_labels_of_a_table_that_blanks_set_apart_are_joined_and_told(tmp_path) -> None:
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "t.csv").write_text('path,label\na.mp4,deer\nb.mp4,"deer "\nc.mp4,fox\n')
    found = listing.list_data_set(tmp_path / "t.csv")
    assert [row.label for row in found.rows] == ["deer", "deer", "fox"]
    assert any("'deer' is written in 2 ways" in note for note in found.notes)
    assert not any("'fox'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5), ("12,5", 12.5), ("0:01", 1), ("1:02.5", 62.5), ("00:00:01.500", 1.5),
        ("01:00:01,5", 3601.5), ("1500 ms", 1.5), ("1.5 s", 1.5), ("2 min", 120), ("1e1", 10),
        (".5", 0.5), ("", None), ("NA", None), ("nan", None), ("-", None), ("90:00", 5400),
    ],
)  # fmt: skip
def test_times_that_are_read(text: str, seconds: float | None) -> None:
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("00:00:10:12", "ends in a frame number"), ("1.234,5", "has both"), ("1_0", "not a time"),
        ("1e400", "more than 1e"), ("9" * 400, "more than 1e"),
        ("soon", "not a time"), ("-3", "not a time"), ("١", "not a time"), ("1:75", "60 or more"),
    ],
)  # fmt: skip
def test_times_that_are_none_say_why_as_they_were_written(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_time_s(text)
    assert f"'{text}'" in str(caught.value)
