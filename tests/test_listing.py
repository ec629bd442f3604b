import os

import pytest

from data_prep.dataset.listing import list_data_set, list_table, walk
from data_prep.status import DataSetError


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
        ("a.mp4,x,,,maybe", "split 'maybe' is none of train, val, test"),
        (",x,,,", "the path is empty"),
        ("a.mp4,x,,,\na.mp4,y,,,", "twice for the same time (label x and y)"),
    ],
)
def test_mistakes_in_a_csv_are_named(tmp_path, line: str, says: str) -> None:
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
