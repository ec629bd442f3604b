"""Frames at an even pace, whatever the file's own, from a real encoded video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.fingerprints.motion_frames import (
    MOTION_MAX_S,
    MOTION_SIDE_PX,
    MOTION_STEP_S,
    read_motion_frames,
)
from data_prep.status import NoUsableStreamError, UnreadableError
from tests.helpers.media import BITS, numbered_picture, write_video


def _number(frame: np.ndarray) -> int:
    """What `numbered_picture` shows, in a small grey frame."""
    width = frame.shape[1]
    columns = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(columns) if frame[frame.shape[0] // 2, x] > 125)


def test_each_frame_is_the_one_shown_then(tmp_path: Path) -> None:
    times_ms = [40 * k for k in range(100)]
    path = write_video(tmp_path / "a.mp4", times_ms, options={"bf": "0", "g": "12"})
    frames = read_motion_frames(str(path), None, None, 0).frames
    assert frames.shape == (20, MOTION_SIDE_PX, MOTION_SIDE_PX)
    wanted = [round(1000 * k * MOTION_STEP_S) // 40 for k in range(20)]
    assert [_number(frame) for frame in frames] == wanted


def test_a_gap_holds_the_frame_before_it(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 1200, 1240, 1280]
    path = write_video(tmp_path / "a.mp4", times_ms, options={"bf": "0"})
    numbers = [_number(frame) for frame in read_motion_frames(str(path), None, None, 0).frames]
    assert numbers == [0, 2, 2, 2, 2, 2, 3]


def test_the_last_frame_is_held_as_long_as_the_one_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 1000, 2000], options={"bf": "0"})
    numbers = [_number(frame) for frame in read_motion_frames(str(path), None, None, 0).frames]
    assert numbers == [0] * 5 + [1] * 5 + [2] * 5


def test_a_part_ends_at_its_end_and_begins_with_what_is_shown_then(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [500 * k for k in range(40)], options={"bf": "0"})
    numbers = [_number(frame) for frame in read_motion_frames(str(path), 2.3, 3.7, 0).frames]
    assert numbers == [4, 5, 5, 5, 6, 6, 7]  # at 2.3, 2.5, … 3.5 s
    with pytest.raises(NoUsableStreamError):
        read_motion_frames(str(path), 100.0, None, 0)


def test_the_end_of_a_part_in_a_long_gap_is_the_frame_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 200, 8000, 8200], options={"bf": "0"})
    numbers = [_number(frame) for frame in read_motion_frames(str(path), None, 2.0, 0).frames]
    assert numbers == [0] + [1] * 9


def test_no_more_than_its_share_is_read_and_a_segment_begins_at_its_start(tmp_path: Path) -> None:
    times_ms = [100 * k for k in range(200)]
    path = write_video(tmp_path / "a.mp4", times_ms, options={"bf": "0", "g": "10"})
    assert read_motion_frames(str(path), None, None, 0).frames.shape[0] == round(
        MOTION_MAX_S / MOTION_STEP_S
    )
    segment = read_motion_frames(str(path), 15.0, None, 0).frames
    assert _number(segment[0]) == 150
    assert segment.shape[0] == 25


def test_it_is_turned_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 40, 80], options={"bf": "0"})
    plain, turned = (read_motion_frames(str(path), None, None, deg).frames[0] for deg in (0, 90))
    assert np.array_equal(np.rot90(plain), turned)
    assert numbered_picture(0).shape[2] == 3


def test_what_has_no_picture_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.m4a", [0, 1000], picture=False)
    with pytest.raises(NoUsableStreamError):
        read_motion_frames(str(path), None, None, 0)
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 200)
    with pytest.raises(UnreadableError):
        read_motion_frames(str(broken), None, None, 0)
