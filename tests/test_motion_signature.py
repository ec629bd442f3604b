"""What moves in a video, measured.

A running clock is stilled, wherever it stands; what moves otherwise is left as it is.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from data_prep.fingerprints.motion_frames import MOTION_SIDE_PX, MOTION_STEP_S
from data_prep.fingerprints.motion_match import match_motion
from data_prep.fingerprints.motion_signature import (
    FeatureSeries,
    MotionSignature,
    _thinned,
    changes_within,
    mask_timestamp,
)


def _walk(still_rms: float = 20.0, n_frames: int = 30) -> np.ndarray:
    """uint8 [T, side, side]: noise that stands still, and a bright square that walks across."""
    draw = np.random.default_rng(0)
    scene = draw.normal(100, still_rms, (MOTION_SIDE_PX, MOTION_SIDE_PX))
    frames = np.repeat(scene[None], n_frames, axis=0)
    for t in range(n_frames):
        frames[t, 20:28, 2 * t : 2 * t + 4] = 250
    return frames.clip(0, 255).astype(np.uint8)


def test_only_what_moves_is_left() -> None:
    moving = MotionSignature(_walk())
    changes = _dense(moving.changes).reshape(-1, MOTION_SIDE_PX, MOTION_SIDE_PX)
    outside = np.ones((MOTION_SIDE_PX, MOTION_SIDE_PX), bool)
    outside[20:28] = False
    assert not changes[:, outside].any()
    for t in (3, 12, 25):
        assert (changes[t, 20:28, 2 * t : 2 * t + 4] > 50).all()
    assert not moving.turns


def _dense(track: FeatureSeries) -> np.ndarray:
    return track.values.toarray() if isinstance(track.values, csr_array) else track.values


def test_what_the_video_mostly_does_not_show_does_not_count() -> None:
    turned = _walk()
    turned[10:12] = np.random.default_rng(1).integers(0, 255, turned[10:12].shape)
    assert not _dense(MotionSignature(turned).changes)[10:12].any()


def test_sparse_values_correlate_as_dense_ones() -> None:
    draw = np.random.default_rng(0)
    dense = [
        np.where(draw.random((9, 40)) < 0.1, draw.normal(size=(9, 40)), 0).astype(np.float32)
        for _ in range(2)
    ]
    sparse = [FeatureSeries(csr_array(values)) for values in dense]
    wanted = dense[0] @ dense[1].T
    for first in (FeatureSeries(dense[0]), sparse[0]):
        for second in (FeatureSeries(dense[1]), sparse[1]):
            np.testing.assert_allclose(first.products(second), wanted, atol=1e-5)
    np.testing.assert_allclose(sparse[0].energy, FeatureSeries(dense[0]).energy, rtol=1e-5)


def test_a_camera_that_rests_keeps_little() -> None:
    assert isinstance(MotionSignature(_walk()).changes.values, csr_array)
    values = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
    assert isinstance(_thinned(values), np.ndarray)
    assert isinstance(_thinned(np.where(values > 1, values, 0)), csr_array)


def test_nothing_moves_in_a_still() -> None:
    assert not changes_within(np.repeat(_walk()[:1], 12, axis=0)).values.any()


def test_fields_are_means_of_four_by_four_pixels() -> None:
    moving = MotionSignature(_walk())
    changes = _dense(moving.changes).reshape(-1, 16, 4, 16, 4)
    expected = changes.mean(axis=(2, 4)).reshape(len(moving), -1)
    np.testing.assert_allclose(moving.coarse_changes.values, expected, atol=1e-4)


def test_energy_adds_up_the_squares_of_the_frames_before() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    energy = FeatureSeries(values).energy
    assert energy[0] == 0
    np.testing.assert_allclose(energy[4], (values[:4] ** 2).sum(), rtol=1e-5)


_SCENE = np.random.default_rng(0).integers(40, 200, (8, 8)).repeat(8, 0).repeat(8, 1)
_DIGITS = np.random.default_rng(1).integers(0, 255, (10, 4, 3))


def _watched(begin: int, row: int = 60, n_frames: int = 50, noise: float = 1.0) -> np.ndarray:
    """uint8 [T, side, side]: a scene in which a digit changes every second, begun at some time."""
    draw = np.random.default_rng(begin)
    frames = np.repeat(_SCENE[None].astype(float), n_frames, axis=0)
    for t in range(n_frames):
        second = int((begin + t) * MOTION_STEP_S + 1e-6)
        frames[t, row : row + 4, 30:33] = _DIGITS[second % 10]
        frames[t, row : row + 4, 26:29] = _DIGITS[second // 10 % 6]
        frames[t, row : row + 4, 18:21] = _DIGITS[second // 60 % 10]
    return np.clip(frames + draw.normal(0, noise, frames.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("row", [0, 30, 60])
@pytest.mark.parametrize("begin", [0, 3, 17])
def test_a_clock_is_stilled_and_nothing_else(row: int, begin: int) -> None:
    frames = _watched(begin, row)
    stilled = mask_timestamp(frames)
    digits = stilled[:, row : row + 4, 30:33].astype(int)
    assert np.abs(np.diff(digits, axis=0)).max() == 0
    changed = (stilled != frames).any(axis=0)
    assert not changed[: max(0, row - 8)].any()
    assert not changed[row + 12 :].any()


def test_two_watches_of_one_empty_scene_are_not_one_recording() -> None:
    watched = [MotionSignature(_watched(begin)) for begin in (0, 25, 60, 90, 145, 280, 275, 1180)]
    for k, first in enumerate(watched):
        for second in watched[k + 1 :]:
            assert not match_motion(first, second).same


def test_what_moves_beside_a_clock_still_tells() -> None:
    frames = _watched(0)
    for t in range(len(frames)):
        frames[t, 20:26, t : t + 5] = 255
    assert match_motion(MotionSignature(frames), MotionSignature(frames[6:])).same
    moved = mask_timestamp(frames)
    assert np.array_equal(moved[:, :50], frames[:, :50])


def test_what_moves_at_any_time_of_the_second_is_left_as_it_is() -> None:
    """A leaf in the wind moves in most seconds, too, but at no one time of the second."""
    frames = np.repeat(_SCENE[None], 50, axis=0).astype(np.uint8)
    moves = np.random.default_rng(0).random(50) < 0.4
    frames[:, 30:34, 30:33] = 255 * (np.cumsum(moves) % 2)[:, None, None]
    assert mask_timestamp(frames) is frames


@pytest.mark.parametrize("n_frames", [1, 2, 5, 20])
def test_a_short_look_is_left_as_it_is(n_frames: int) -> None:
    frames = _watched(0, n_frames=n_frames)
    assert mask_timestamp(frames) is frames
    assert len(MotionSignature(frames)) == n_frames


def test_a_video_of_one_frame_a_second_is_no_clock() -> None:
    slow = np.random.default_rng(3).integers(0, 255, (10, MOTION_SIDE_PX, MOTION_SIDE_PX))
    frames = slow.repeat(5, axis=0).astype(np.uint8)
    assert mask_timestamp(frames) is frames
