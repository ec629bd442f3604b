"""Which frame is displayed at which time step: pure arithmetic, no decoder.

    steps     |    0    |    1    |    2    |    3  :          step t covers [t, t+1) / rate
    wanted    |    x    |    x    |    x    |     :            wanted(t) = (t + ½) / rate
    frames    a..b..c...d...e..f..g..h..i..j..k....:end        shown at w: last with time ≤ w
                                                   (here 3 steps: wanted(3) lies past the end)

Times are seconds from the clip's time zero. If the video overlaps a step, the target time is
clamped to the video (policy HOLD: the first or last frame is held, by less than one step). A step
that the video does not overlap has no frame (policy MASK: index −1); this happens where the audio
is longer than the video.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from data_prep.settings import exact_rate

NO_FRAME = -1
"""Frame index of a step without video."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_EPSILON_S = 1e-6  # absorbs rounding only: timestamps are multiples of 1/90000 s or coarser


def step_count(duration_s: float, frame_rate_hz: float) -> int:
    """Number of steps whose middle is inside the clip, at least 1. Raises ValueError if ≤ 0 s."""
    if not duration_s > 0 or not math.isfinite(duration_s):
        raise ValueError(f"duration_s must be positive and finite, got {duration_s}")
    steps = duration_s * float(exact_rate(frame_rate_hz))
    return max(1, math.ceil(steps - 0.5 - 1e-9))  # 1e-9: n + ½ steps are n, however rounded


def target_times_s(first_step: int, n_steps: int, frame_rate_hz: float) -> FloatArray:
    """[T] times (t + ½) / frame_rate_hz for t = first_step … first_step + n_steps − 1, in s."""
    steps = np.arange(first_step, first_step + n_steps, dtype=np.float64)
    return (steps + 0.5) / float(exact_rate(frame_rate_hz))


def clamp_to_picture(
    target_s: FloatArray, step_s: float, first_frame_s: float, picture_end_s: float
) -> FloatArray:
    """[T] target times clamped to the video, NaN where the video does not overlap the step.

    A video shorter than half a step is sampled in its own middle.
    """
    step_start = target_s - step_s / 2
    overlaps = (picture_end_s > step_start + _EPSILON_S) & (
        first_frame_s < step_start + step_s - _EPSILON_S
    )
    middle = (first_frame_s + picture_end_s) / 2
    # before the end: the frame displayed exactly at the end would be the next one
    last_moment = max(first_frame_s, picture_end_s - _EPSILON_S)
    if picture_end_s - first_frame_s < step_s / 2:
        last_moment = middle
    clamped_s = np.clip(target_s, first_frame_s, last_moment)
    return np.where(overlaps, clamped_s, np.nan)


def frame_shown_at(frame_times_s: FloatArray, times_s: FloatArray) -> IntArray:
    """int64 [T] index of the frame displayed at each time: the last with frame time ≤ time.

    `frame_times_s` [N] is non-decreasing. NaN gives NO_FRAME; a time before the first frame gives
    the first. Raises ValueError if there is no frame or the times are not sorted.
    """
    if frame_times_s.ndim != 1 or frame_times_s.size == 0:
        raise ValueError(f"frame_times_s must be [N] with N ≥ 1, got shape {frame_times_s.shape}")
    if np.any(np.diff(frame_times_s) < 0):
        raise ValueError("frame_times_s must be non-decreasing")
    query_s = np.nan_to_num(times_s, nan=0.0) + _EPSILON_S
    index = np.searchsorted(frame_times_s, query_s, side="right") - 1
    index = np.clip(index, 0, frame_times_s.size - 1)
    return np.where(np.isnan(times_s), NO_FRAME, index).astype(np.int64)


def evenly(n: int, most: int) -> list[int]:
    """At most `most` of the indices 0 … n − 1, evenly spaced, including the first and the last."""
    if n == 0:
        return []
    # unique: rounding repeats indices where n < most
    return [int(k) for k in np.unique(np.linspace(0, n - 1, most).round())]
