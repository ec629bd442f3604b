"""Decide whether two videos show the same recording, by correlating their motion over time.

Frames of one fixed camera look alike whatever happens in front of it, so the static background is
removed and the rest (see `motion_signature`) is compared at every time offset. This also finds
copies of another size, quality or start. Two recordings without motion cannot be distinguished and
are never called the same.
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
_LEAST_SHARE = 1 / 2  # overlap, of the shorter video
_NEAR_S = 0.5  # offsets this close to the best one belong to the same peak
_TINY = 1e-6

# Thresholds, measured on 180 infrared clips of 65 sessions from the same few viewpoints and 72
# planted copies of them with other sizes, qualities and starts (benchmarks/AUDIT.md): no pair of
# different recordings reached any of them, 96 % of the copies did.
_CHANGES, _SAME_VIEW = 0.5, 0.995
_FAINT, _FAINT_CONTRAST, _FAINT_S = 0.25, 15.0, 5.0
_FLICKER, _FAINT_FLICKER, _FLICKER_CONTRAST = 0.25, 0.15, 6.0
_CERTAIN_CHANGES, _CHANGES_ALONE, _FLICKER_ALONE = 0.9, 0.8, 0.65  # copies' flicker: 0.46
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
    is_unique = flicker.height >= _FAINT_FLICKER and flicker.stands_out(_FLICKER_ALONE)
    is_near = abs(flicker.index - changes.index) * MOTION_STEP_S <= _NEAR_S
    is_faint = changes.height >= _FAINT and changes.contrast >= _FAINT_CONTRAST
    is_faint = is_faint and _overlap_is_long(first, second, int(offsets[changes.index]))
    same = changes.height >= _CHANGES or (is_faint and not _views_differ(first, second))
    # periodic motion correlates at many offsets, so a high peak alone is no proof
    is_distinct = changes.height >= _CERTAIN_CHANGES or changes.stands_out(_CHANGES_ALONE)
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
            is_restless = first.turns or second.turns
            same = within or (is_restless and peak.above_others >= _SHOTS_ABOVE_OTHERS)
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
    least = max(round(_LEAST_S / MOTION_STEP_S), int(np.ceil(min(n, m) * _LEAST_SHARE)))
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
