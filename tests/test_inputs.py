"""What classify is given: folders, files, lists, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.settings import LabelSettings
from data_prep.status import DataSetError
from pipeline.inference.inputs import list_inputs


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
