"""What moves in a video, measured."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from data_prep.fingerprints.look import LOOK_SIDE_PX
from data_prep.fingerprints.moving import Moving, Track, _thinned, changes_within


def _walk(still_rms: float = 20.0, n_frames: int = 30) -> np.ndarray:
    """uint8 [T, side, side]: noise that stands still, and a bright square that walks across."""
    draw = np.random.default_rng(0)
    scene = draw.normal(100, still_rms, (LOOK_SIDE_PX, LOOK_SIDE_PX))
    frames = np.repeat(scene[None], n_frames, axis=0)
    for t in range(n_frames):
        frames[t, 20:28, 2 * t : 2 * t + 4] = 250
    return frames.clip(0, 255).astype(np.uint8)


def test_only_what_moves_is_left() -> None:
    moving = Moving(_walk())
    changes = _dense(moving.changes).reshape(-1, LOOK_SIDE_PX, LOOK_SIDE_PX)
    outside = np.ones((LOOK_SIDE_PX, LOOK_SIDE_PX), bool)
    outside[20:28] = False
    assert not changes[:, outside].any()
    for t in (3, 12, 25):
        assert (changes[t, 20:28, 2 * t : 2 * t + 4] > 50).all()
    assert not moving.turns


def _dense(track: Track) -> np.ndarray:
    return track.values.toarray() if isinstance(track.values, csr_array) else track.values


def test_what_the_video_mostly_does_not_show_does_not_count() -> None:
    turned = _walk()
    turned[10:12] = np.random.default_rng(1).integers(0, 255, turned[10:12].shape)
    assert not _dense(Moving(turned).changes)[10:12].any()


def test_sparse_values_correlate_as_dense_ones() -> None:
    draw = np.random.default_rng(0)
    dense = [
        np.where(draw.random((9, 40)) < 0.1, draw.normal(size=(9, 40)), 0).astype(np.float32)
        for _ in range(2)
    ]
    sparse = [Track(csr_array(values)) for values in dense]
    wanted = dense[0] @ dense[1].T
    for first in (Track(dense[0]), sparse[0]):
        for second in (Track(dense[1]), sparse[1]):
            np.testing.assert_allclose(first.products(second), wanted, atol=1e-5)
    np.testing.assert_allclose(sparse[0].energy, Track(dense[0]).energy, rtol=1e-5)


def test_a_camera_that_rests_keeps_little() -> None:
    assert isinstance(Moving(_walk()).changes.values, csr_array)
    values = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
    assert isinstance(_thinned(values), np.ndarray)
    assert isinstance(_thinned(np.where(values > 1, values, 0)), csr_array)


def test_nothing_moves_in_a_still() -> None:
    assert not changes_within(np.repeat(_walk()[:1], 12, axis=0)).values.any()


def test_fields_are_means_of_four_by_four_pixels() -> None:
    moving = Moving(_walk())
    changes = _dense(moving.changes).reshape(-1, 16, 4, 16, 4)
    expected = changes.mean(axis=(2, 4)).reshape(len(moving), -1)
    np.testing.assert_allclose(moving.coarse_changes.values, expected, atol=1e-4)


def test_energy_adds_up_the_squares_of_the_frames_before() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    energy = Track(values).energy
    assert energy[0] == 0
    np.testing.assert_allclose(energy[4], (values[:4] ** 2).sum(), rtol=1e-5)
