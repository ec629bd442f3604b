"""A running clock is stilled, wherever it stands; what moves otherwise is left as it is."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.fingerprints.look import LOOK_SIDE_PX, LOOK_STEP_S
from data_prep.fingerprints.motion import match_motion
from data_prep.fingerprints.moving import Moving
from data_prep.fingerprints.overlay import without_clock

_SCENE = np.random.default_rng(0).integers(40, 200, (8, 8)).repeat(8, 0).repeat(8, 1)
_DIGITS = np.random.default_rng(1).integers(0, 255, (10, 4, 3))


def _watched(begin: int, row: int = 60, n_frames: int = 50, noise: float = 1.0) -> np.ndarray:
    """uint8 [T, side, side]: a scene in which a digit changes every second, begun at some time."""
    draw = np.random.default_rng(begin)
    frames = np.repeat(_SCENE[None].astype(float), n_frames, axis=0)
    for t in range(n_frames):
        second = int((begin + t) * LOOK_STEP_S + 1e-6)
        frames[t, row : row + 4, 30:33] = _DIGITS[second % 10]
        frames[t, row : row + 4, 26:29] = _DIGITS[second // 10 % 6]
        frames[t, row : row + 4, 18:21] = _DIGITS[second // 60 % 10]
    return np.clip(frames + draw.normal(0, noise, frames.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("row", [0, 30, 60])
@pytest.mark.parametrize("begin", [0, 3, 17])
def test_a_clock_is_stilled_and_nothing_else(row: int, begin: int) -> None:
    frames = _watched(begin, row)
    stilled = without_clock(frames)
    digits = stilled[:, row : row + 4, 30:33].astype(int)
    assert np.abs(np.diff(digits, axis=0)).max() == 0
    changed = (stilled != frames).any(axis=0)
    assert not changed[: max(0, row - 8)].any()
    assert not changed[row + 12 :].any()


def test_two_watches_of_one_empty_scene_are_not_one_recording() -> None:
    watched = [Moving(_watched(begin)) for begin in (0, 25, 60, 90, 145, 280, 275, 1180)]
    for k, first in enumerate(watched):
        for second in watched[k + 1 :]:
            assert not match_motion(first, second).same


def test_what_moves_beside_a_clock_still_tells() -> None:
    frames = _watched(0)
    for t in range(len(frames)):
        frames[t, 20:26, t : t + 5] = 255
    assert match_motion(Moving(frames), Moving(frames[6:])).same
    moved = without_clock(frames)
    assert np.array_equal(moved[:, :50], frames[:, :50])


def test_what_moves_at_any_time_of_the_second_is_left_as_it_is() -> None:
    """A leaf in the wind moves in most seconds, too, but at no one time of the second."""
    frames = np.repeat(_SCENE[None], 50, axis=0).astype(np.uint8)
    moves = np.random.default_rng(0).random(50) < 0.4
    frames[:, 30:34, 30:33] = 255 * (np.cumsum(moves) % 2)[:, None, None]
    assert without_clock(frames) is frames


@pytest.mark.parametrize("n_frames", [1, 2, 5, 20])
def test_a_short_look_is_left_as_it_is(n_frames: int) -> None:
    frames = _watched(0, n_frames=n_frames)
    assert without_clock(frames) is frames
    assert len(Moving(frames)) == n_frames


def test_a_video_of_one_frame_a_second_is_no_clock() -> None:
    slow = np.random.default_rng(3).integers(0, 255, (10, LOOK_SIDE_PX, LOOK_SIDE_PX))
    frames = slow.repeat(5, axis=0).astype(np.uint8)
    assert without_clock(frames) is frames
