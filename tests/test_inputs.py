"""What classify is given: folders, files, lists, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.settings import LabelSettings
from data_prep.status import DataSetError
from pipeline.inference.inputs import list_inputs, relative_paths


def listed(path: Path, **labels: str) -> list[str]:
    return [Path(row.path).name for row in list_inputs([path], LabelSettings(**labels)).rows]


def test_a_text_file_is_a_list_or_a_table(tmp_path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("# recordings\na.wav\n\nb.wav\n")
    assert listed(tmp_path / "list.txt") == ["a.wav", "b.wav"]
    (tmp_path / "table.txt").write_text("path,label\na.wav,x\nb.wav,y\n")
    assert listed(tmp_path / "table.txt") == ["a.wav", "b.wav"]


def test_a_text_file_with_tabs_is_a_table_whose_path_is_to_be_named(tmp_path) -> None:
    (tmp_path / "a.wav").touch()
    raven = tmp_path / "raven.txt"
    raven.write_text("Selection\tBegin File\tSpecies\n1\ta.wav\tcuckoo\n")
    with pytest.raises(DataSetError, match="Begin File"):
        listed(raven)
    assert listed(raven, path_column="Begin File") == ["a.wav"]


def test_a_name_in_a_list_that_fits_several_files_is_told(tmp_path) -> None:
    for name in ("x/A.wav", "y/A.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("a.wav\n")
    found = list_inputs([tmp_path / "list.txt"], LabelSettings())
    assert "several files match 'a.wav'" in " ".join(found.notes)
    assert [str(row.status) for row in found.rows] == ["missing"]


def places(*inputs: Path) -> list[str]:
    found = relative_paths(inputs, list_inputs(inputs).rows)
    return [str(found[path]) for path in sorted(found)]


def test_places_are_below_the_common_folder_of_the_inputs(tmp_path, monkeypatch) -> None:
    for name in ("a/x.wav", "a/deep/y.wav", "b/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    a, b = tmp_path / "a", tmp_path / "b"
    assert places(a) == ["deep/y.wav", "x.wav"]
    assert places(a / "deep" / "y.wav") == ["y.wav"]
    assert places(a / "deep", b / "x.wav") == ["a/deep/y.wav", "b/x.wav"]
    (b / "list.txt").write_text("x.wav\n../a/x.wav\nhttps://example.org/z.wav\n")
    assert places(b / "list.txt") == ["a/x.wav", "b/x.wav"]
    monkeypatch.chdir(a)
    assert places(Path(), Path("deep/../x.wav")) == ["deep/y.wav", "x.wav"]
    (b / "list.txt").write_text("https://example.org/z.wav\n")
    assert places(b / "list.txt") == []


def test_a_place_never_leads_out_of_its_folder(tmp_path) -> None:
    """After a link to a folder, `..` leads elsewhere than the text says."""
    (tmp_path / "far" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    for name in ("far/x.wav", "near/x.wav"):
        (tmp_path / name).touch()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "deep" / "deeper")
    (tmp_path / "near" / "list.txt").write_text("x.wav\nlink/../../x.wav\n")
    assert sorted(places(tmp_path / "near" / "list.txt")) == ["far/x.wav", "near/x.wav"]
