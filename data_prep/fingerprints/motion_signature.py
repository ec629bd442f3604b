"""Motion signature of a video: what is specific to the recording rather than to the camera's view.

Three measures, frame by frame:

changes  difference from the static background, beyond the local noise: moving objects
flicker  frame-to-frame differences of block means on a 16 × 16 grid, in units of each block's usual
         difference: exposure, noise, and motion too small or slow for `changes`
shots    whole frames, for a camera that never rests

Cameras may burn a running clock into the picture. It moves alike in all recordings, so
`mask_timestamp` removes it first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from data_prep.clip import BoolArray, UInt8Array

Float32Array = npt.NDArray[np.float32]

_BLOCKS = 16
_NOISE_FLOOR = 0.5  # grey levels of 255; differences below it are codec rounding
_NOISES = 6.0  # multiples of a pixel's noise that a change must exceed
_FLICKER_FLOOR, _FLICKER_MOST = 0.05, 4.0
_UNUSUAL = 0.05
_FRAMES_FOR_MEDIAN = 16
_TINY = 1e-6
_SPARSE = 0.25  # share of non-zero values below which a sparse matrix is used


@dataclass(frozen=True)
class FeatureSeries:
    """One measure of a video: values [T, D], sparse where most are 0, and cumulative energy."""

    values: Float32Array | csr_array
    energy: npt.NDArray[np.float64] = field(init=False)
    """[T + 1]: sum of squares of all frames before each one."""

    def __post_init__(self) -> None:
        if isinstance(self.values, csr_array):
            squares = np.asarray(self.values.power(2).sum(axis=1, dtype=np.float64))
        else:
            squares = np.einsum("td,td->t", self.values, self.values, dtype=np.float64)
        object.__setattr__(self, "energy", np.concatenate([[0.0], np.cumsum(squares)]))

    def products(self, other: FeatureSeries) -> Float32Array:
        """[T, T']: dot products of all frames with those of another video."""
        found = self.values @ other.values.T
        return found.toarray() if isinstance(found, csr_array) else np.asarray(found)


class MotionSignature:
    """The three measures of a video, from its grey frames uint8 [T, side, side], one per 0.2 s.

    view   float32 [D], unit length: the static background
    turns  whether the camera never rests

    Takes about a third of a megabyte for ten seconds, or 1.2 MB if the camera never rests.
    """

    def __init__(self, frames: UInt8Array) -> None:
        frames = mask_timestamp(frames)
        self.frames = frames
        flat = frames.reshape(frames.shape[0], -1).astype(np.float32)
        means = _block_means(flat, frames.shape[1])
        changes, background = changes_of(flat)
        self.view = _unit(_centred(background[None]))[0]
        self.shots = FeatureSeries(_unit(_centred(means)))
        usual, self.turns = _usual(_unit(_centred(flat)) @ self.view)
        changes[~usual] = 0.0  # frames of a turned camera would outweigh everything else
        self.changes = FeatureSeries(_sparse_if_small(changes))
        self.coarse_changes = FeatureSeries(_block_means(changes, frames.shape[1]))
        flicker = _flicker(means)
        flicker[~usual] = 0.0
        flicker[1:][~usual[:-1]] = 0.0  # and the step back to the usual view
        self.flicker = FeatureSeries(flicker)

    def __len__(self) -> int:
        return int(self.frames.shape[0])


def _sparse_if_small(values: Float32Array) -> Float32Array | csr_array:
    return csr_array(values) if np.count_nonzero(values) < _SPARSE * values.size else values


def changes_within(frames: UInt8Array) -> FeatureSeries:
    """The `changes` measure relative to these frames only."""
    return FeatureSeries(changes_of(frames.reshape(frames.shape[0], -1).astype(np.float32))[0])


def changes_of(frames: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(changes beyond the local noise [T, D], static background [D]) of frames [T, D]."""
    sampled = np.ascontiguousarray(frames[:: max(1, frames.shape[0] // _FRAMES_FOR_MEDIAN)].T)
    background = np.median(sampled, axis=1)
    noise = 1.4826 * np.median(np.abs(sampled - background[:, None]), axis=1)
    # a pixel that hardly varies gets the typical noise, not its own
    noise = np.maximum(noise, max(_NOISE_FLOOR, float(np.median(noise))))
    residual = frames - background
    residual -= residual.mean(axis=1, keepdims=True)  # removes changes of exposure
    # soft threshold: small changes shrink to 0 continuously
    size = np.abs(residual) - _NOISES * noise
    return np.where(size > 0, np.copysign(size, residual), np.float32(0)), background


def _flicker(means: Float32Array) -> Float32Array:
    """[T, D] differences from the previous frame, clipped so that no single event dominates."""
    differences = np.diff(means, axis=0, prepend=means[:1])
    usual_size = 1.4826 * np.median(np.abs(differences), axis=0) + _FLICKER_FLOOR
    return np.clip(differences / usual_size, -_FLICKER_MOST, _FLICKER_MOST).astype(np.float32)


def _usual(similarity: Float32Array) -> tuple[npt.NDArray[np.bool_], bool]:
    """(bool [T]: frames that show the video's main view; whether there is no main view).

    similarity [T]: similarity of each frame to the static background.
    """
    middle = float(np.median(similarity))
    spread = 1.4826 * float(np.median(np.abs(similarity - middle)))
    return similarity >= middle - max(_UNUSUAL, 4 * spread), spread > _UNUSUAL


def _block_means(rows: Float32Array, side_px: int) -> Float32Array:
    """Frames [T, side · side] → [T, 256], block means on a 16 × 16 grid."""
    block = side_px // _BLOCKS
    across = rows.reshape(-1, _BLOCKS, block, side_px)
    # added slice by slice: mean(axis=(2, 4)) takes ten times as long
    lines = reduce(np.add, (across[:, :, k] for k in range(block)))
    means = reduce(np.add, (lines[:, :, k::block] for k in range(block))) / np.float32(block**2)
    return np.reshape(means, (rows.shape[0], -1))


def _centred(rows: Float32Array) -> Float32Array:
    centred: Float32Array = rows - rows.mean(axis=1, keepdims=True)
    return centred


def _unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.maximum(_TINY, np.linalg.norm(rows, axis=1, keepdims=True))
    return unit


FIELD_PX = 4

_PHASES = 5  # frames per second
_AT_ONE_PHASE = 0.9  # share of a cell's changes; without a clock it is 0.4
_LEAST_S, _OF_ALL_SECONDS = 4, 0.6
_TICK, _OVERLAY_NOISES = 1.0, 2.5  # in grey levels; in units of a cell's usual change
_LINE = 6  # cells masked to the left and right of a ticking one
_LARGEST = 0.06  # of the frame; more than that is a video of one frame per second, not a clock


def mask_timestamp(frames: UInt8Array) -> UInt8Array:
    """Frames uint8 [T, side, side] at 5 per second, with a burnt-in clock replaced by its median.

    The clock is what changes once per second, together with its line of text.
    """
    if len(frames) <= _LEAST_S * _PHASES:
        return frames
    n_cells = frames.shape[1] // FIELD_PX
    ticks = _ticking(_changes(frames, n_cells)).reshape(n_cells, n_cells)
    if not ticks.any() or ticks.mean() > _LARGEST:
        return frames
    padded = np.pad(ticks, ((1, 1), (_LINE, _LINE)))
    # the digits of minutes and hours, which rarely change, are in the same line
    line = np.logical_or.reduce(
        [padded[y : y + n_cells, x : x + n_cells] for y in range(3) for x in range(2 * _LINE + 1)]
    )
    pixels = line.repeat(FIELD_PX, 0).repeat(FIELD_PX, 1)
    masked = frames.copy()
    masked[:, pixels] = np.median(frames[:, pixels], axis=0).astype(np.uint8)
    return masked


def _changes(frames: UInt8Array, n_cells: int) -> Float32Array:
    """[T − 1, F]: mean absolute change per pixel of each cell, from each frame to the next."""
    before, after = frames[:-1], frames[1:]
    change = np.maximum(before, after) - np.minimum(before, after)  # without a wider type
    across = change.reshape(-1, n_cells, FIELD_PX, n_cells * FIELD_PX)
    # added slice by slice: a mean over both axes takes ten times as long
    lines = reduce(np.add, (across[:, :, k].astype(np.uint16) for k in range(FIELD_PX)))
    sums = reduce(np.add, (lines[:, :, k::FIELD_PX] for k in range(FIELD_PX)))
    return np.asarray(sums.reshape(change.shape[0], -1) / FIELD_PX**2, np.float32)


def _ticking(change: Float32Array) -> BoolArray:
    """Changes [T − 1, F] → bool [F]: whether a cell changes at one phase of the second only."""
    n_seconds = change.shape[0] // _PHASES
    median = np.median(change, axis=0)
    loud = np.where(change > np.maximum(_TICK, _OVERLAY_NOISES * median), change, 0)
    by_phase = loud[: n_seconds * _PHASES].reshape(n_seconds, _PHASES, -1)
    # two phases count as one: a tick near a frame's time falls now before and now after it
    two_phases = by_phase + np.roll(by_phase, -1, axis=1)
    best_phase = two_phases.sum(axis=0).argmax(axis=0)
    at_best = np.take_along_axis(two_phases, best_phase[None, None], axis=1)[:, 0]
    is_regular = (at_best > 0).mean(axis=0) >= _OF_ALL_SECONDS
    ticking: BoolArray = is_regular & (at_best.sum(axis=0) >= _AT_ONE_PHASE * by_phase.sum((0, 1)))
    return ticking
