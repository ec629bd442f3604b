"""Decides whether two videos show the same recording, by correlating their motion over time.

Frames of one fixed camera look alike whatever happens in front of it, so the static background is
removed and the rest is compared at every time offset. This also finds copies of another size,
quality or start. Two recordings without motion cannot be distinguished and are never reported
as the same. Three measures, frame by frame:

changes  difference from the static background, beyond the local noise: moving objects
flicker  frame-to-frame differences of block means on a 16 × 16 grid, in units of each block's usual
         difference: exposure, noise, and motion too small or slow for `changes`
shots    whole frames, for a camera that keeps moving

Cameras may burn a running clock into the picture. It moves alike in all recordings, so
`mask_timestamp` removes it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from data_prep.clip import BoolArray, UInt8Array
from data_prep.fingerprints.motion_frames import MOTION_STEP_S

Float32Array = npt.NDArray[np.float32]

_BLOCKS = 16
_NOISE_FLOOR = 0.5  # grey levels of 255; differences below it are codec rounding
_NOISE_FACTOR = 6.0  # multiples of a pixel's noise that a change must exceed
_FLICKER_FLOOR, _FLICKER_MOST = 0.05, 4.0
_VIEW_SPREAD = 0.05  # of the similarity to the background, within the main view
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
    turns  whether the camera keeps moving

    Ten seconds take about a third of a megabyte, or 1.2 MB if the camera keeps moving.
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
    size = np.abs(residual) - _NOISE_FACTOR * noise
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
    return similarity >= middle - max(_VIEW_SPREAD, 4 * spread), spread > _VIEW_SPREAD


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
_PHASE_SHARE = 0.9  # share of a cell's changes; without a clock it is 0.4
_LEAST_SECONDS, _SECONDS_SHARE = 4, 0.6
_TICK_LEVELS, _TICK_FACTOR = 1.0, 2.5  # in grey levels; in units of a cell's usual change
_LINE = 6  # cells masked to the left and right of a ticking one
_MOST_TICKING = 0.06  # of the frame; more than that is a video of one frame per second, not a clock


def mask_timestamp(frames: UInt8Array) -> UInt8Array:
    """Frames uint8 [T, side, side] at 5 per second, with a burnt-in clock replaced by its median.

    The clock is what changes once per second, together with its line of text.
    """
    if len(frames) <= _LEAST_SECONDS * _PHASES:
        return frames
    n_cells = frames.shape[1] // FIELD_PX
    ticks = _ticking(_changes(frames, n_cells)).reshape(n_cells, n_cells)
    if not ticks.any() or ticks.mean() > _MOST_TICKING:
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
    loud = np.where(change > np.maximum(_TICK_LEVELS, _TICK_FACTOR * median), change, 0)
    by_phase = loud[: n_seconds * _PHASES].reshape(n_seconds, _PHASES, -1)
    # two phases count as one: a tick near a frame's time falls now before and now after it
    two_phases = by_phase + np.roll(by_phase, -1, axis=1)
    best_phase = two_phases.sum(axis=0).argmax(axis=0)
    at_best = np.take_along_axis(two_phases, best_phase[None, None], axis=1)[:, 0]
    is_regular = (at_best > 0).mean(axis=0) >= _SECONDS_SHARE
    ticking: BoolArray = is_regular & (at_best.sum(axis=0) >= _PHASE_SHARE * by_phase.sum((0, 1)))
    return ticking


_LEAST_OVERLAP_S = 2.0
_LEAST_SHARE = 1 / 2  # overlap, of the shorter video
_NEAR_S = 0.5  # offsets this close to the best one belong to the same peak


# Thresholds, measured on 180 infrared clips of 65 sessions from the same few viewpoints and 72
# planted copies of them with other sizes, qualities and starts (benchmarks/studies/AUDIT.md): no
# pair of different recordings reached any of them, 96 % of the copies did.
_CHANGES, _SAME_VIEW = 0.5, 0.995
_FAINT, _FAINT_CONTRAST, _FAINT_S = 0.25, 15.0, 5.0
_FLICKER, _FAINT_FLICKER, _FLICKER_CONTRAST = 0.25, 0.15, 6.0
_CERTAIN_CHANGES, _CHANGES_RIVAL, _FLICKER_RIVAL = 0.9, 0.8, 0.65  # copies' flicker: 0.46
_SHOTS, _SHOTS_ABOVE_OTHERS = 0.95, 0.5
_CANDIDATE = 0.12

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MotionMatch:
    """How well two recordings match, by the first measure that decides."""

    same: bool
    score: float
    """Correlation at the best offset, −1 to 1."""
    offset_s: float
    """Start of the second one, in s from the start of the first."""
    measure: str
    """changes, flicker or shots."""


@dataclass(frozen=True)
class _Peak:
    """The maximum of a curve of correlations over offsets."""

    height: float
    index: int
    above_others: float
    """Height above the median of the other offsets."""
    contrast: float
    """`above_others` in robust standard deviations of the other offsets."""
    next_height: float
    """Highest correlation at an offset outside of this peak."""

    def stands_out(self, max_share: float) -> bool:
        """Whether every other offset reaches at most this share of the height."""
        return self.next_height <= max_share * self.height


def may_match(first: MotionSignature, second: MotionSignature) -> bool:
    """Whether a full comparison is worthwhile; uses block means only, in a tenth of the time."""
    offsets = _offsets(len(first), len(second))
    if not offsets.size:
        return False
    if float(_curve(first.coarse_changes, second.coarse_changes, offsets).max()) >= _CANDIDATE:
        return True
    if float(_curve(first.flicker, second.flicker, offsets).max()) >= _FAINT_FLICKER:
        return True
    by_shot = _curve(first.shots, second.shots, offsets)
    return bool(_views_differ(first, second) and by_shot.max() >= _SHOTS)


def match_motion(first: MotionSignature, second: MotionSignature) -> MotionMatch:
    """Compare two videos at every offset with an overlap of 2 s and half of the shorter one."""
    offsets = _offsets(len(first), len(second))
    if not offsets.size:
        return MotionMatch(False, 0.0, 0.0, "changes")
    by_change: MotionMatch | None = None
    for match in _matches(first, second, offsets):
        if match.same:
            return match
        by_change = by_change or match
    assert by_change is not None
    return by_change


def _matches(
    first: MotionSignature, second: MotionSignature, offsets: Offsets
) -> Iterator[MotionMatch]:
    """Match by changes, flicker, and for a moving camera by shots, in this order."""
    changes = _peak(_curve(first.changes, second.changes, offsets), 0.01)
    flicker = _peak(_curve(first.flicker, second.flicker, offsets), 0.005)
    is_unique = flicker.height >= _FAINT_FLICKER and flicker.stands_out(_FLICKER_RIVAL)
    is_near = abs(flicker.index - changes.index) * MOTION_STEP_S <= _NEAR_S
    is_faint = changes.height >= _FAINT and changes.contrast >= _FAINT_CONTRAST
    is_faint = is_faint and _overlap_is_long(first, second, int(offsets[changes.index]))
    same = changes.height >= _CHANGES or (is_faint and not _views_differ(first, second))
    # periodic motion correlates at many offsets, so a high peak alone is no proof
    is_distinct = changes.height >= _CERTAIN_CHANGES or changes.stands_out(_CHANGES_RIVAL)
    same = same and (is_distinct or (is_unique and is_near))
    yield _match(same, changes, offsets, "changes")
    is_faint = is_unique and flicker.contrast >= _FLICKER_CONTRAST
    is_faint = is_faint and _overlap_is_long(first, second, int(offsets[flicker.index]))
    same = is_unique and (flicker.height >= _FLICKER or is_faint)
    yield _match(same, flicker, offsets, "flicker")
    if _views_differ(first, second):
        peak = _peak(_curve(first.shots, second.shots, offsets), 0.01)
        if peak.height >= _SHOTS:
            offset = int(offsets[peak.index])
            within = _within_overlap(first, second, offset) >= _CHANGES
            is_moving_camera = first.turns or second.turns
            same = within or (is_moving_camera and peak.above_others >= _SHOTS_ABOVE_OTHERS)
            yield _match(same, peak, offsets, "shots")


def _overlap_is_long(first: MotionSignature, second: MotionSignature, offset: int) -> bool:
    """Whether the overlap is long enough for a weak correlation to be significant."""
    mine, _ = _overlap(len(first), len(second), offset)
    return bool((mine.stop - mine.start) * MOTION_STEP_S >= _FAINT_S)


def _views_differ(first: MotionSignature, second: MotionSignature) -> bool:
    """Whether they mostly show different views, as a trimmed copy from a turning camera may."""
    return float(first.view @ second.view) < _SAME_VIEW


def _match(same: bool, peak: _Peak, offsets: Offsets, measure: str) -> MotionMatch:
    return MotionMatch(same, peak.height, float(offsets[peak.index]) * MOTION_STEP_S, measure)


def _offsets(n: int, m: int) -> Offsets:
    """Offsets o at which frames o … of the first overlap frames 0 … of the second long enough."""
    least = max(round(_LEAST_OVERLAP_S / MOTION_STEP_S), int(np.ceil(min(n, m) * _LEAST_SHARE)))
    return np.arange(-(m - least), n - least + 1) if min(n, m) >= least else np.arange(0)


def _overlap(n: int, m: int, offset: int) -> tuple[slice, slice]:
    begin, end = max(0, offset), min(n, m + offset)
    return slice(begin, end), slice(begin - offset, end - offset)


def _curve(first: FeatureSeries, second: FeatureSeries, offsets: Offsets) -> Float32Array:
    """[number of offsets]: correlation of [T, D] and [T', D] over their overlap at each offset."""
    n, m = first.values.shape[0], second.values.shape[0]
    diagonal = (np.arange(n)[:, None] - np.arange(m)[None] + m - 1).ravel()  # i with i − o
    # summing the matrix of products along its diagonals gives all offsets at once
    agreed = np.bincount(diagonal, first.products(second).ravel())[offsets + m - 1]
    begin, end = np.maximum(0, offsets), np.minimum(n, m + offsets)
    power = first.energy[end] - first.energy[begin]
    power = power * (second.energy[end - offsets] - second.energy[begin - offsets])
    curve: Float32Array = (agreed / np.sqrt(np.maximum(_TINY, power))).astype(np.float32)
    return curve


def _within_overlap(first: MotionSignature, second: MotionSignature, offset: int) -> float:
    """Correlation of changes relative to the overlap only: the camera may have turned before it."""
    mine, other = _overlap(len(first), len(second), offset)
    a, b = changes_within(first.frames[mine]), changes_within(second.frames[other])
    return float(_curve(a, b, np.zeros(1, np.int64))[0])


def _peak(curve: Float32Array, least_spread: float) -> _Peak:
    index = int(curve.argmax())
    height = float(curve[index])
    far = np.abs(np.arange(curve.size) - index) * MOTION_STEP_S > _NEAR_S
    if not far.any():
        return _Peak(height, index, 0.0, 0.0, 0.0)
    middle = float(np.median(curve[far]))
    # 1.4826 · median absolute deviation estimates a standard deviation
    spread = 1.4826 * float(np.median(np.abs(curve[far] - middle)))
    contrast = (height - middle) / (spread + least_spread)
    return _Peak(height, index, height - middle, contrast, float(curve[far].max()))
