"""Whether two videos show the same recording: the same things move the same way at the same time.

Pictures of one fixed camera are alike whatever happens in front of it, so what stands still is
taken away, and what is left over (see `moving`) is compared at every offset in time. That also
finds a copy at another size, quality or beginning. Two recordings in which nothing moves are not
told apart, and so never called the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.motion_frames import MOTION_STEP_S
from data_prep.fingerprints.motion_signature import (
    FeatureSeries,
    Float32Array,
    MotionSignature,
    changes_within,
)

_LEAST_S = 2.0
_LEAST_SHARE = 1 / 2  # of the shorter one
_NEAR_S = 0.5  # offsets this close to the best one are as good
_TINY = 1e-6

# Measured on 180 infrared clips of 65 sessions from the same few viewpoints, and 72 planted copies
# of them at other sizes, qualities and beginnings (benchmarks/AUDIT.md): of pairs of different
# recordings none reached one of these lines, of the copies 96 % did.
_CHANGES, _SAME_VIEW = 0.5, 0.995
_FAINT, _FAINT_CONTRAST, _FAINT_S = 0.25, 15.0, 5.0
_FLICKER, _FAINT_FLICKER, _FLICKER_CONTRAST = 0.25, 0.15, 6.0
_SURE_CHANGES, _CHANGES_ALONE, _FLICKER_ALONE = 0.9, 0.8, 0.65  # of copies' flicker, 0.46
_SHOTS, _SHOTS_ABOVE_OTHERS = 0.95, 0.5
_WORTH_IT = 0.12

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MotionMatch:
    """How well two recordings agree, by the measure that says so first."""

    same: bool
    score: float
    """Correlation at the best offset, −1 to 1."""
    offset_s: float
    """Where the second one's beginning lies in the first."""
    measure: str
    """changes, flicker or shots."""


@dataclass(frozen=True)
class _Peak:
    """A curve of correlations over offsets at its highest."""

    height: float
    place: int
    above_others: float
    contrast: float
    """The same in deviations of the others."""
    next_height: float
    """Of the highest other one."""

    def stands_out(self, most: float) -> bool:
        """Whether no other offset agrees nearly as well: at most this share of its height."""
        return self.next_height <= most * self.height


def may_match(first: MotionSignature, second: MotionSignature) -> bool:
    """Whether it is worth the time to compare them in full; by fields alone, in a tenth of it."""
    offsets = _offsets(len(first), len(second))
    if not offsets.size:
        return False
    if float(_curve(first.coarse_changes, second.coarse_changes, offsets).max()) >= _WORTH_IT:
        return True
    if float(_curve(first.flicker, second.flicker, offsets).max()) >= _FAINT_FLICKER:
        return True
    by_shot = _curve(first.shots, second.shots, offsets)
    return bool(_turned(first, second) and by_shot.max() >= _SHOTS)


def match_motion(first: MotionSignature, second: MotionSignature) -> MotionMatch:
    """Compare two videos at every offset at which half of the shorter one overlaps."""
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
    """By each measure in turn."""
    moves = _peak(_curve(first.changes, second.changes, offsets), 0.01)
    flickers = _peak(_curve(first.flicker, second.flicker, offsets), 0.005)
    alone = flickers.height >= _FAINT_FLICKER and flickers.stands_out(_FLICKER_ALONE)
    near = abs(flickers.place - moves.place) * MOTION_STEP_S <= _NEAR_S
    faint = moves.height >= _FAINT and moves.contrast >= _FAINT_CONTRAST
    faint = faint and _meet_long(first, second, int(offsets[moves.place]))
    same = moves.height >= _CHANGES or (faint and not _turned(first, second))
    # what comes and goes the same way again and again agrees at many offsets
    told_apart = moves.height >= _SURE_CHANGES or moves.stands_out(_CHANGES_ALONE)
    same = same and (told_apart or (alone and near))
    yield _match(same, moves, offsets, "changes")
    faint = alone and flickers.contrast >= _FLICKER_CONTRAST
    faint = faint and _meet_long(first, second, int(offsets[flickers.place]))
    same = alone and (flickers.height >= _FLICKER or faint)
    yield _match(same, flickers, offsets, "flicker")
    if _turned(first, second):
        peak = _peak(_curve(first.shots, second.shots, offsets), 0.01)
        if peak.height >= _SHOTS:
            offset = int(offsets[peak.place])
            within = _within_overlap(first, second, offset) >= _CHANGES
            ceaseless = first.turns or second.turns
            same = within or (ceaseless and peak.above_others >= _SHOTS_ABOVE_OTHERS)
            yield _match(same, peak, offsets, "shots")


def _meet_long(first: MotionSignature, second: MotionSignature, offset: int) -> bool:
    """Whether they overlap so long that a faint likeness is no chance."""
    mine, _ = _overlap(len(first), len(second), offset)
    return bool((mine.stop - mine.start) * MOTION_STEP_S >= _FAINT_S)


def _turned(first: MotionSignature, second: MotionSignature) -> bool:
    """Whether they mostly show different views, as one cut short of a turning camera may."""
    return float(first.view @ second.view) < _SAME_VIEW


def _match(same: bool, peak: _Peak, offsets: Offsets, measure: str) -> MotionMatch:
    return MotionMatch(same, peak.height, float(offsets[peak.place]) * MOTION_STEP_S, measure)


def _offsets(n: int, m: int) -> Offsets:
    """Offsets o such that frames o … of the first meet frames 0 … of the second long enough."""
    least = max(round(_LEAST_S / MOTION_STEP_S), int(np.ceil(min(n, m) * _LEAST_SHARE)))
    return np.arange(-(m - least), n - least + 1) if min(n, m) >= least else np.arange(0)


def _overlap(n: int, m: int, offset: int) -> tuple[slice, slice]:
    begin, end = max(0, offset), min(n, m + offset)
    return slice(begin, end), slice(begin - offset, end - offset)


def _curve(first: FeatureSeries, second: FeatureSeries, offsets: Offsets) -> Float32Array:
    """[number of offsets]: correlation of [T, D] with [T', D] over their overlap at each."""
    n, m = first.values.shape[0], second.values.shape[0]
    diagonal = (np.arange(n)[:, None] - np.arange(m)[None] + m - 1).ravel()  # i meets i − o
    agreed = np.bincount(diagonal, first.products(second).ravel())[offsets + m - 1]
    begin, end = np.maximum(0, offsets), np.minimum(n, m + offsets)
    power = first.energy[end] - first.energy[begin]
    power = power * (second.energy[end - offsets] - second.energy[begin - offsets])
    curve: Float32Array = (agreed / np.sqrt(np.maximum(_TINY, power))).astype(np.float32)
    return curve


def _within_overlap(first: MotionSignature, second: MotionSignature, offset: int) -> float:
    """Correlation of what moves within the overlap alone: a camera may have turned before it."""
    mine, other = _overlap(len(first), len(second), offset)
    a, b = changes_within(first.frames[mine]), changes_within(second.frames[other])
    return float(_curve(a, b, np.zeros(1, np.int64))[0])


def _peak(curve: Float32Array, least_spread: float) -> _Peak:
    place = int(curve.argmax())
    height = float(curve[place])
    far = np.abs(np.arange(curve.size) - place) * MOTION_STEP_S > _NEAR_S
    if not far.any():
        return _Peak(height, place, 0.0, 0.0, 0.0)
    middle = float(np.median(curve[far]))
    spread = 1.4826 * float(np.median(np.abs(curve[far] - middle)))
    contrast = (height - middle) / (spread + least_spread)
    return _Peak(height, place, height - middle, contrast, float(curve[far].max()))
