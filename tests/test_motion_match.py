"""The same moving things are found again; other recordings of the same view are not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.fingerprints.motion_frames import MOTION_SIDE_PX, MOTION_STEP_S
from data_prep.fingerprints.motion_match import match_motion, may_match
from data_prep.fingerprints.motion_signature import MotionSignature

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
