"""Contact sheets from files and from the work folder: frames with their times, and the sound."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.manifest import ManifestRow, with_file_facts
from pipeline.config import Config
from pipeline.report import contact_sheets as sheets_module
from pipeline.report.contact_sheets import FRAMES, SIDE_PX, Frame, Sheet, sheets
from pipeline.reporter import SilentReporter
from pipeline.training.training_data import open_prepared
from tests.helpers.media import read_number, write_video


def _image(address: str) -> np.ndarray:
    data = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _row(path: Path, **values: object) -> ManifestRow:
    return with_file_facts(ManifestRow(path=str(path), label="a", **values))  # type: ignore[arg-type]


def test_frames_are_those_of_their_times(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", [100 * k for k in range(200)], sound_ms=(0, 20_000), beeps_ms=(500,)
    )
    row = _row(path)
    sheet = sheets([row], None, Config(), SilentReporter())[row.key]
    assert len(sheet.frames) == FRAMES
    times = [frame.time_s for frame in sheet.frames]
    assert times == sorted(times)
    assert times[-1] > 15
    for frame in sheet.frames:
        picture = _image(frame.data)
        assert max(picture.shape[:2]) <= SIDE_PX
        height = picture.shape[0]
        shown = picture[height // 4 : -height // 4]  # letterboxed
        assert read_number(shown) == pytest.approx(round(frame.time_s * 10) % 256, abs=1)
    assert _image(sheet.sound).shape[:2] == (192, 960)
    loudness = _image(sheet.sound).astype(float).sum(axis=(0, 2))
    assert int(loudness.argmax()) * 20 / 960 == pytest.approx(0.5, abs=0.3)  # where the beep is
    assert sheet.sound_s == pytest.approx(20, abs=0.6)


def test_times_are_told_apart() -> None:
    frames = [Frame(t, "") for t in (0.96, 1.04, 2.0)]
    assert Sheet(frames, "", 0.0).times == ["0.96", "1.04", "2.00"]
    assert Sheet(frames[1:], "", 0.0).times == ["1.0", "2.0"]


def test_sound_alone_and_silence(tmp_path: Path) -> None:
    sound = write_video(tmp_path / "a.m4a", [0, 3000], picture=False, beeps_ms=(500, 1500))
    silent = write_video(tmp_path / "b.mp4", [0, 500, 1000])
    rows = [_row(sound), _row(silent)]
    made = sheets(rows, None, Config(), SilentReporter())
    assert made[rows[0].key].frames == []
    assert made[rows[0].key].sound
    assert made[rows[1].key].sound == ""
    assert made[rows[1].key].frames


def test_of_a_long_sound_the_beginning_is_shown_and_frames_of_all(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sheets_module, "_MOST_SOUND_S", 3)
    path = write_video(
        tmp_path / "a.mp4", [500 * k for k in range(40)], sound_ms=(0, 20_000), beeps_ms=(500,)
    )
    row = _row(path)
    sheet = sheets([row], None, Config(), SilentReporter())[row.key]
    assert sheet.sound_s == 3.0
    assert sheet.frames[-1].time_s > 15


def test_a_file_that_is_gone_has_no_sheet(tmp_path: Path) -> None:
    row = _row(tmp_path / "gone.mp4")
    assert sheets([row], None, Config(), SilentReporter()) == {}


@pytest.mark.end_to_end
def test_the_work_folders_frames_are_taken_where_they_are(journey) -> None:
    prepared = open_prepared(journey.work)
    rows = prepared.rows[:3]
    made = sheets(rows, prepared, Config(), SilentReporter())
    assert set(made) == {row.key for row in rows}
    for sheet in made.values():
        assert sheet.frames
        assert sheet.sound
