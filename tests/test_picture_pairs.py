"""Pairs that look alike are decoded and compared; what cannot be read is left out and told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.picture_pairs import same_pictures
from pipeline.config import Config
from pipeline.reporting import Silent
from tests.test_audit import SECONDS, film, write


def _row(path: Path, **values: object) -> ManifestRow:
    return ManifestRow(path=str(path), id=path.name, label="a", **values)  # type: ignore[arg-type]


def _content(rows: list[ManifestRow]) -> dict[str, str]:
    return {row.path: row.path for row in rows}


def _pairs(rows: list[ManifestRow], *pairs: tuple[int, int]) -> list[tuple[int, int, float]]:
    found = same_pictures(rows, list(pairs), _content(rows), Config(), Silent())
    return [(each.first, each.second, each.match.offset_s) for each in found]


def test_one_recording_is_told_from_another_of_the_same_camera(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", film(1))
    write(tmp_path / "copy.mp4", film(1), crf=30)
    write(tmp_path / "other.mp4", film(2))
    rows = [_row(tmp_path / name) for name in ("a.mp4", "copy.mp4", "other.mp4")]
    assert _pairs(rows, (0, 1), (0, 2), (1, 2)) == [(0, 1, 0.0)]


def test_two_moments_of_a_recording_and_its_copy_are_not_the_same(tmp_path: Path) -> None:
    """Parts end where their labels end, whatever the files hold after that."""
    write(tmp_path / "a.mp4", film(1))
    write(tmp_path / "copy.mp4", film(1), crf=30)
    middle = SECONDS / 2
    first = _row(tmp_path / "a.mp4", start_s=0.0, end_s=middle)
    second = _row(tmp_path / "copy.mp4", start_s=middle, end_s=float(SECONDS))
    assert _pairs([first, second], (0, 1)) == []
    whole = replace(second, start_s=0.0, end_s=middle)
    assert _pairs([first, whole], (0, 1)) == [(0, 1, 0.0)]


def test_of_equal_files_one_is_decoded(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", film(1))
    write(tmp_path / "copy.mp4", film(1), crf=30)
    steps: list[int] = []

    class Counted(Silent):
        def advance(self, n_steps: int = 1, failed: bool = False) -> None:
            steps.append(n_steps)

    rows = [_row(tmp_path / "a.mp4"), _row(tmp_path / "gone.mp4"), _row(tmp_path / "copy.mp4")]
    content = {**_content(rows), rows[1].path: rows[0].path}
    found = same_pictures(rows, [(0, 2), (1, 2)], content, Config(), Counted())
    assert [(each.first, each.second) for each in found] == [(0, 2), (1, 2)]
    assert len(steps) == 2


def test_a_file_that_is_gone_is_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", film(1))
    told: list[bool] = []
    notes: list[str] = []

    class Told(Silent):
        def advance(self, steps: int = 1, failed: bool = False) -> None:
            told.append(failed)

        def note(self, text: str) -> None:
            notes.append(text)

    rows = [_row(tmp_path / "a.mp4"), _row(tmp_path / "gone.mp4")]
    assert same_pictures(rows, [(0, 1)], _content(rows), Config(), Told()) == []
    assert told == [False, True]
    assert any("not looked at closely" in note and "1 clip" in note for note in notes)
