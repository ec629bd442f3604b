"""A clock that runs in the picture, as cameras write it there: in all recordings the same moves."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, UInt8Array

FIELD_PX = 4

_PHASES = 5  # steps a second
_AT_ONE_PHASE = 0.9  # of what changes in a field; without a clock 0.4
_LEAST_S, _OF_ALL_SECONDS = 4, 0.6
_TICK, _NOISES = 1.0, 2.5  # grey levels; in units of a field's usual change
_LINE = 6  # fields to the left and to the right of what ticks
_LARGEST = 0.06  # of the picture; more is no clock but a video of one frame a second

Float32Array = npt.NDArray[np.float32]


def without_clock(frames: UInt8Array) -> UInt8Array:
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
    loud = np.where(change > np.maximum(_TICK, _NOISES * usual), change, 0)
    by_phase = loud[: n_seconds * _PHASES].reshape(n_seconds, _PHASES, -1)
    of_two = by_phase + np.roll(by_phase, -1, axis=1)
    best = of_two.sum(axis=0).argmax(axis=0)
    at_best = np.take_along_axis(of_two, best[None, None], axis=1)[:, 0]
    enough = (at_best > 0).mean(axis=0) >= _OF_ALL_SECONDS
    ticking: BoolArray = enough & (at_best.sum(axis=0) >= _AT_ONE_PHASE * by_phase.sum((0, 1)))
    return ticking
