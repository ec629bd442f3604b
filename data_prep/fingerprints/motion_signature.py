"""What of a video is its own, and not its camera's view: in three measures, frame by frame.

changes  what differs from the still picture by more than the noise of its place: things that move
flicker  differences from frame to frame in 16 × 16 fields, in units of each field's own: exposure,
         noise and things too small or slow for the first; not bound to single pixels
shots    whole frames, for a camera that never rests

A clock that runs in the picture, as cameras write it there: in all recordings the same moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from data_prep.clip import BoolArray, UInt8Array

Float32Array = npt.NDArray[np.float32]

_FIELDS = 16
_NOISE_FLOOR = 0.5  # of 255; below it a codec rounds
_NOISES = 6.0  # how far above the noise of its place a change must be
_FLICKER_FLOOR, _FLICKER_MOST = 0.05, 4.0
_UNUSUAL = 0.05
_FRAMES_FOR_MEDIAN = 16
_TINY = 1e-6
_SPARSE = 0.25  # of all values


@dataclass(frozen=True)
class FeatureSeries:
    """One measure of a video, values [T, D] (sparse where most are 0), with what correlating it
    needs."""

    values: Float32Array | csr_array
    energy: npt.NDArray[np.float64] = field(init=False)
    """[T + 1]: the sum of squares of all frames before."""

    def __post_init__(self) -> None:
        if isinstance(self.values, csr_array):
            squares = np.asarray(self.values.power(2).sum(axis=1, dtype=np.float64))
        else:
            squares = np.einsum("td,td->t", self.values, self.values, dtype=np.float64)
        object.__setattr__(self, "energy", np.concatenate([[0.0], np.cumsum(squares)]))

    def products(self, other: FeatureSeries) -> Float32Array:
        """[T, T'] with another video's."""
        found = self.values @ other.values.T
        return found.toarray() if isinstance(found, csr_array) else np.asarray(found)


class MotionSignature:
    """A video's grey frames uint8 [T, side, side], one every LOOK_STEP_S, and what moves there.

    Of ten seconds about a third of a megabyte is kept, or 1.2 of a camera that never rests.
    """

    def __init__(self, frames: UInt8Array) -> None:
        frames = mask_timestamp(frames)
        self.frames = frames
        flat = frames.reshape(frames.shape[0], -1).astype(np.float32)
        fields = _fields(flat, frames.shape[1])
        changes, still = changes_of(flat)
        self.view = _unit(_centred(still[None]))[0]
        """[D], unit: the still picture."""
        self.shots = FeatureSeries(_unit(_centred(fields)))
        usual, self.turns = _usual(_unit(_centred(flat)) @ self.view)
        """turns: whether the camera never rests."""
        changes[~usual] = 0.0
        self.changes = FeatureSeries(_thinned(changes))
        self.coarse_changes = FeatureSeries(_fields(changes, frames.shape[1]))
        flicker = _flicker(fields)
        flicker[~usual] = 0.0
        flicker[1:][~usual[:-1]] = 0.0
        self.flicker = FeatureSeries(flicker)

    def __len__(self) -> int:
        return int(self.frames.shape[0])


def _thinned(values: Float32Array) -> Float32Array | csr_array:
    return csr_array(values) if np.count_nonzero(values) < _SPARSE * values.size else values


def changes_within(frames: UInt8Array) -> FeatureSeries:
    """What moves within these frames alone."""
    return FeatureSeries(changes_of(frames.reshape(frames.shape[0], -1).astype(np.float32))[0])


def changes_of(frames: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(what is above the noise of its place in each frame, what stands still): [T, D], [D]."""
    some = np.ascontiguousarray(frames[:: max(1, frames.shape[0] // _FRAMES_FOR_MEDIAN)].T)
    still = np.median(some, axis=1)
    noise = 1.4826 * np.median(np.abs(some - still[:, None]), axis=1)
    noise = np.maximum(noise, max(_NOISE_FLOOR, float(np.median(noise))))
    left = frames - still
    left -= left.mean(axis=1, keepdims=True)  # the camera's exposure
    size = np.abs(left) - _NOISES * noise
    return np.where(size > 0, np.copysign(size, left), np.float32(0)), still


def _flicker(fields: Float32Array) -> Float32Array:
    """[T, D], differences to the frame before, bounded so that no single event outweighs all."""
    differences = np.diff(fields, axis=0, prepend=fields[:1])
    usual_size = 1.4826 * np.median(np.abs(differences), axis=0) + _FLICKER_FLOOR
    return np.clip(differences / usual_size, -_FLICKER_MOST, _FLICKER_MOST).astype(np.float32)


def _usual(likeness: Float32Array) -> tuple[npt.NDArray[np.bool_], bool]:
    """(bool [T], frames that show what the video mostly shows; whether it shows no one thing).

    likeness [T]: each frame's to the still picture. A turned camera would drown all else.
    """
    middle = float(np.median(likeness))
    spread = 1.4826 * float(np.median(np.abs(likeness - middle)))
    return likeness >= middle - max(_UNUSUAL, 4 * spread), spread > _UNUSUAL


def _fields(rows: Float32Array, side_px: int) -> Float32Array:
    """Rows [T, side · side] as means of 16 × 16 fields."""
    wide = side_px // _FIELDS
    across = rows.reshape(-1, _FIELDS, wide, side_px)
    # slice by slice: mean(axis=(2, 4)) takes ten times as long
    lines = reduce(np.add, (across[:, :, k] for k in range(wide)))
    fields = reduce(np.add, (lines[:, :, k::wide] for k in range(wide))) / np.float32(wide**2)
    return np.reshape(fields, (rows.shape[0], -1))


def _centred(rows: Float32Array) -> Float32Array:
    centred: Float32Array = rows - rows.mean(axis=1, keepdims=True)
    return centred


def _unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.maximum(_TINY, np.linalg.norm(rows, axis=1, keepdims=True))
    return unit


FIELD_PX = 4

_PHASES = 5  # steps a second
_AT_ONE_PHASE = 0.9  # of what changes in a field; without a clock 0.4
_LEAST_S, _OF_ALL_SECONDS = 4, 0.6
_TICK, _OVERLAY_NOISES = 1.0, 2.5  # grey levels; in units of a field's usual change
_LINE = 6  # fields to the left and to the right of what ticks
_LARGEST = 0.06  # of the picture; more is no clock but a video of one frame a second


def mask_timestamp(frames: UInt8Array) -> UInt8Array:
    """The frames uint8 [T, side, side], five a second, with what ticks once a second stilled, and
    the line that it stands in: minutes turn over, too."""
    if len(frames) <= _LEAST_S * _PHASES:
        return frames
    wide = frames.shape[1] // FIELD_PX
    ticks = _ticking(_changes(frames, wide)).reshape(wide, wide)
    if not ticks.any() or ticks.mean() > _LARGEST:
        return frames
    about = np.pad(ticks, ((1, 1), (_LINE, _LINE)))
    line = np.logical_or.reduce(
        [about[y : y + wide, x : x + wide] for y in range(3) for x in range(2 * _LINE + 1)]
    )
    pixels = line.repeat(FIELD_PX, 0).repeat(FIELD_PX, 1)
    stilled = frames.copy()
    stilled[:, pixels] = np.median(frames[:, pixels], axis=0).astype(np.uint8)
    return stilled


def _changes(frames: UInt8Array, wide: int) -> Float32Array:
    """[T − 1, F]: mean change of a pixel, field by field, from each frame to the next."""
    before, after = frames[:-1], frames[1:]
    change = np.maximum(before, after) - np.minimum(before, after)  # bytes stay bytes
    across = change.reshape(-1, wide, FIELD_PX, wide * FIELD_PX)
    # slice by slice: a mean over both axes takes ten times as long
    lines = reduce(np.add, (across[:, :, k].astype(np.uint16) for k in range(FIELD_PX)))
    sums = reduce(np.add, (lines[:, :, k::FIELD_PX] for k in range(FIELD_PX)))
    return np.asarray(sums.reshape(change.shape[0], -1) / FIELD_PX**2, np.float32)


def _ticking(change: Float32Array) -> BoolArray:
    """[T − 1, F] → [F]: whether nearly all that changes there does so at one time of the second.

    A tick near a frame's own time falls now before and now after it, so two phases count as one.
    """
    n_seconds = change.shape[0] // _PHASES
    usual = np.median(change, axis=0)
    loud = np.where(change > np.maximum(_TICK, _OVERLAY_NOISES * usual), change, 0)
    by_phase = loud[: n_seconds * _PHASES].reshape(n_seconds, _PHASES, -1)
    of_two = by_phase + np.roll(by_phase, -1, axis=1)
    best = of_two.sum(axis=0).argmax(axis=0)
    at_best = np.take_along_axis(of_two, best[None, None], axis=1)[:, 0]
    enough = (at_best > 0).mean(axis=0) >= _OF_ALL_SECONDS
    ticking: BoolArray = enough & (at_best.sum(axis=0) >= _AT_ONE_PHASE * by_phase.sum((0, 1)))
    return ticking
