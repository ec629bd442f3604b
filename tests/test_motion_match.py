"""What moves in a video, measured.

A running clock is stilled, wherever it stands; what moves otherwise is left as it is.

The same moving things are found again; other recordings of the same view are not.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from data_prep.fingerprints.motion_frames import MOTION_SIDE_PX, MOTION_STEP_S
from data_prep.fingerprints.motion_match import (
    FeatureSeries,
    MotionSignature,
    _sparse_if_small,
    changes_within,
    mask_timestamp,
    match_motion,
    may_match,
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
    assert isinstance(_sparse_if_small(values), np.ndarray)
    assert isinstance(_sparse_if_small(np.where(values > 1, values, 0)), csr_array)


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


_OTHER_SCENE = np.random.default_rng(0).integers(40, 200, (8, 8)).repeat(8, 0).repeat(8, 1)
_DIGITS = np.random.default_rng(1).integers(0, 255, (10, 4, 3))


def _watched(begin: int, row: int = 60, n_frames: int = 50, noise: float = 1.0) -> np.ndarray:
    """uint8 [T, side, side]: a scene in which a digit changes every second, begun at some time."""
    draw = np.random.default_rng(begin)
    frames = np.repeat(_OTHER_SCENE[None].astype(float), n_frames, axis=0)
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
    frames = np.repeat(_OTHER_SCENE[None], 50, axis=0).astype(np.uint8)
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


_SCENE = np.random.default_rng(0).integers(40, 200, (8, 8)).repeat(8, 0).repeat(8, 1)


def _recording(seed: int, n_frames: int = 60, noise: float = 1.0) -> np.ndarray:
    """A fixed camera; a blob wanders through its view by a random path."""
    draw = np.random.default_rng(seed)
    place = np.cumsum(draw.normal(0, 1.5, (n_frames, 2)), axis=0) + draw.uniform(12, 52, 2)
    frames = np.repeat(_SCENE[None].astype(float), n_frames, axis=0)
    y, x = np.mgrid[:MOTION_SIDE_PX, :MOTION_SIDE_PX]
    for t, (row, column) in enumerate(np.clip(place, 4, 60)):
        frames[t] += 60 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
    return np.clip(frames + draw.normal(0, noise, frames.shape), 0, 255).astype(np.uint8)


def _coded_again(frames: np.ndarray) -> np.ndarray:
    """Softer, noisier, and a little darker."""
    soft = (frames + np.roll(frames.astype(float), 1, axis=2)) / 2
    noise = np.random.default_rng(9).normal(0, 2, frames.shape)
    return np.clip(0.95 * soft + noise, 0, 255).astype(np.uint8)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 25))
def test_a_copy_with_a_cut_beginning_is_found_at_its_offset(seed: int, cut: int) -> None:
    original = _recording(seed)
    copy = _coded_again(original)[cut:]
    first, second = MotionSignature(original), MotionSignature(copy)
    found = match_motion(first, second)
    assert may_match(first, second)
    assert found.same
    assert abs(found.offset_s - cut * MOTION_STEP_S) <= MOTION_STEP_S + 1e-6
    back = match_motion(second, first)
    assert back.same
    assert abs(back.offset_s + found.offset_s) < 1e-6


def test_other_recordings_of_the_same_view_are_seldom_the_same() -> None:
    """Now and then two blobs that wander by chance take the same way: of a thousand such pairs
    six."""
    called = 0
    for seed in range(0, 300, 2):
        first, second = MotionSignature(_recording(seed)), MotionSignature(_recording(seed + 5000))
        assert float(first.view @ second.view) > 0.98
        called += match_motion(first, second).same
    assert called <= 3


def test_one_turn_of_the_camera_does_not_make_two_recordings_one() -> None:
    turned = np.roll(_SCENE, 20, axis=1)[None].astype(np.uint8)
    first, second = _recording(1), _recording(2)
    first[45:], second[45:] = turned, turned
    assert not match_motion(MotionSignature(first), MotionSignature(second)).same


def test_where_nothing_moves_nothing_is_called_the_same() -> None:
    still = np.repeat(_SCENE[None].astype(np.uint8), 40, axis=0)
    found = match_motion(MotionSignature(still), MotionSignature(still.copy()))
    assert not found.same
    assert found.score == 0.0


def test_a_camera_that_turns_all_the_time_is_recognised() -> None:
    wide = np.random.default_rng(3).integers(0, 255, (16, 64)).repeat(4, 0).repeat(4, 1)
    pan = np.stack([wide[:, 3 * t : 3 * t + 64] for t in range(60)]).astype(np.uint8)
    assert match_motion(MotionSignature(pan), MotionSignature(_coded_again(pan)[12:])).same


def test_too_short_a_recording_matches_nothing() -> None:
    short = MotionSignature(_recording(4, 3))
    assert not may_match(short, short)
    assert not match_motion(short, short).same


def _jumping(seed: int, n_frames: int = 50, every: int = 10) -> np.ndarray:
    """A still view that jumps a little at every key frame, and wears off until the next."""
    draw = np.random.default_rng(seed)
    pattern = np.random.default_rng(7).normal(0, 3, _SCENE.shape)
    begin = int(draw.integers(every))
    frames = [
        _SCENE + pattern * (0.5 ** ((t + begin) % every)) + draw.normal(0, 0.3, _SCENE.shape)
        for t in range(n_frames)
    ]
    return np.clip(frames, 0, 255).astype(np.uint8)


def test_key_frames_that_jump_at_one_pace_make_still_views_not_one() -> None:
    watched = [MotionSignature(_jumping(seed)) for seed in range(6)]
    for k, first in enumerate(watched):
        for second in watched[k + 1 :]:
            assert not match_motion(first, second).same


def _to_and_fro(seed: int, n_frames: int = 50) -> np.ndarray:
    """Somebody who walks up and down one line, at nearly the same pace each time."""
    draw = np.random.default_rng(seed)
    frames = np.repeat(_SCENE[None].astype(float), n_frames, axis=0)
    phase = draw.uniform(0, 6)
    for t in range(n_frames):
        x = int(30 + 20 * np.sin(phase + t * 2 * np.pi / 15))
        frames[t, 30:40, x : x + 6] = 20
    return np.clip(frames + draw.normal(0, 1, frames.shape), 0, 255).astype(np.uint8)


def test_what_goes_the_same_way_again_and_again_is_not_one_recording() -> None:
    first, second = _to_and_fro(1), _to_and_fro(2)
    assert not match_motion(MotionSignature(first), MotionSignature(second)).same
    copy = match_motion(MotionSignature(first), MotionSignature(_coded_again(first)))
    assert copy.same
    assert copy.offset_s == 0.0
