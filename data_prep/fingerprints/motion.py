"""Whether two videos show the same recording: the same things move the same way at the same time.

Pictures of one fixed camera are alike whatever happens in front of it, so what stands still is
taken away, and what is left over, frame by frame, is compared at every offset in time. That also
finds a copy at another size, quality or beginning. Two recordings in which nothing moves are not
told apart, and so never called the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.clip import UInt8Array

LOOK_SIDE_PX = 64
LOOK_STEP_S = 0.2

Float32Array = npt.NDArray[np.float32]

_LEAST_STEPS = 10
_LEAST_SHARE = 1 / 2  # of the shorter one
_NOISE_FLOOR = 0.5  # of 255; below it a codec rounds
_NOISES = 6.0  # how far above the noise of its place a change must be
_NEAR_S = 0.5  # offsets this close to the best one are as good
_UNUSUAL = 0.05
_TURNED = 0.2
_FRAMES_FOR_MEDIAN = 16
_TINY = 1e-6

# Measured on 180 infrared clips of 65 sessions from the same few viewpoints and 36 planted copies:
# of the copies all but one reach 0.30, of pairs of different recordings none 0.15.
_SAME = 0.5
_SAME_SHOTS = 0.95
_WORTH_IT = 0.12
_SAME_VIEW, _FAINT, _CONTRAST, _FAINT_S = 0.995, 0.25, 15.0, 5.0


@dataclass(frozen=True)
class MotionMatch:
    """How well two recordings agree at their best offset."""

    same: bool
    correlation: float
    """Of what moves, −1 to 1; 0 where nothing does. Of whole frames, where the cameras turn."""
    offset_s: float
    """Where the second one's beginning lies in the first."""
    contrast: float
    """How many deviations the best offset stands above all others."""
    view: float
    """Correlation of what stands still."""


class Moving:
    """A video's grey frames uint8 [T, side, side], one every LOOK_STEP_S, and what moves there."""

    def __init__(self, frames: UInt8Array) -> None:
        self.frames = frames
        flat = _flat(frames)
        self.changes, still = _changes(flat)
        self.view = _unit(_centred(still[None]))[0]
        self.coarse_shots = _unit(_centred(_coarse(flat, frames.shape[1])))
        usual, self.turns = _usual(_unit(_centred(flat)) @ self.view)
        self.changes[~usual] = 0.0
        self.coarse_changes = _coarse(self.changes, frames.shape[1])

    def __len__(self) -> int:
        return int(self.frames.shape[0])


def may_match(first: Moving, second: Moving) -> bool:
    """Whether it is worth the time to compare them in full."""
    offsets = _offsets(len(first), len(second))
    if not offsets.size:
        return False
    by_change = _curve(first.coarse_changes, second.coarse_changes, offsets)
    by_shot = _curve(first.coarse_shots, second.coarse_shots, offsets)
    turned = float(first.view @ second.view) < _SAME_VIEW
    return float(by_change.max()) >= _WORTH_IT or (turned and float(by_shot.max()) >= _SAME_SHOTS)


def match_motion(first: Moving, second: Moving) -> MotionMatch:
    """Compare two videos at every offset at which half of the shorter one overlaps."""
    offsets = _offsets(len(first), len(second))
    view = float(first.view @ second.view)
    if not offsets.size:
        return MotionMatch(False, 0.0, 0.0, 0.0, view)
    if first.turns and second.turns:
        return _match_turning(first, second, offsets, view)
    curve = _curve(first.changes, second.changes, offsets)
    best = int(curve.argmax())
    correlation = float(curve[best])
    if correlation < _SAME and view < _SAME_VIEW:
        by_shot = _curve(first.coarse_shots, second.coarse_shots, offsets)
        if by_shot.max() >= _SAME_SHOTS:
            refined = _refined(first.frames, second.frames, int(offsets[by_shot.argmax()]))
            if refined > correlation:
                best, correlation = int(by_shot.argmax()), refined
    contrast = _contrast(curve, best, correlation)
    mine, _ = _overlap(len(first), len(second), int(offsets[best]))
    long = (mine.stop - mine.start) * LOOK_STEP_S >= _FAINT_S
    faint = correlation >= _FAINT and contrast >= _CONTRAST and view >= _SAME_VIEW
    same = correlation >= _SAME or (faint and long)
    return MotionMatch(same, correlation, float(offsets[best]) * LOOK_STEP_S, contrast, view)


def _match_turning(
    first: Moving, second: Moving, offsets: npt.NDArray[np.int64], view: float
) -> MotionMatch:
    """Cameras that never rest: whole frames agree at one offset, and at others do not."""
    by_shot = _curve(first.coarse_shots, second.coarse_shots, offsets)
    best = int(by_shot.argmax())
    contrast = _contrast(by_shot, best, float(by_shot[best]))
    far = _far(by_shot.size, best)
    gain = float(by_shot[best] - np.median(by_shot[far])) if far.any() else 0.0
    same = float(by_shot[best]) >= _SAME_SHOTS and gain >= _TURNED
    return MotionMatch(
        same, float(by_shot[best]), float(offsets[best]) * LOOK_STEP_S, contrast, view
    )


def _usual(likeness: Float32Array) -> tuple[npt.NDArray[np.bool_], bool]:
    """(bool [T], frames that show what the video mostly shows; whether it shows no one thing).

    likeness [T]: each frame's to the median frame. A turned camera would drown all else.
    """
    middle = float(np.median(likeness))
    spread = 1.4826 * float(np.median(np.abs(likeness - middle)))
    return likeness >= middle - max(_UNUSUAL, 4 * spread), spread > _UNUSUAL


def _contrast(curve: Float32Array, best: int, height: float) -> float:
    far = _far(curve.size, best)
    if not far.any():
        return 0.0
    middle = float(np.median(curve[far]))
    spread = 1.4826 * float(np.median(np.abs(curve[far] - middle)))
    return (height - middle) / (spread + 0.01)


def _far(size: int, best: int) -> npt.NDArray[np.bool_]:
    """bool [size]: offsets that are not the best one's neighbours."""
    away: npt.NDArray[np.bool_] = np.abs(np.arange(size) - best) * LOOK_STEP_S > _NEAR_S
    return away


def _offsets(n: int, m: int) -> npt.NDArray[np.int64]:
    """Offsets o such that frames o … of the first meet frames 0 … of the second long enough."""
    least = max(_LEAST_STEPS, int(np.ceil(min(n, m) * _LEAST_SHARE)))
    return np.arange(-(m - least), n - least + 1) if min(n, m) >= least else np.arange(0)


def _overlap(n: int, m: int, offset: int) -> tuple[slice, slice]:
    begin, end = max(0, offset), min(n, m + offset)
    return slice(begin, end), slice(begin - offset, end - offset)


def _curve(
    first: Float32Array, second: Float32Array, offsets: npt.NDArray[np.int64]
) -> Float32Array:
    """[number of offsets]: correlation of [T, D] with [T', D] over their overlap at each."""
    n, m = first.shape[0], second.shape[0]
    diagonal = (np.arange(n)[:, None] - np.arange(m)[None] + m - 1).ravel()  # i meets i − o
    agreed = np.bincount(diagonal, (first @ second.T).ravel())[offsets + m - 1]
    begin, end = np.maximum(0, offsets), np.minimum(n, m + offsets)
    power = _sums(first, begin, end) * _sums(second, begin - offsets, end - offsets)
    curve: Float32Array = (agreed / np.sqrt(np.maximum(_TINY, power))).astype(np.float32)
    return curve


def _sums(
    frames: Float32Array, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Squared values of frames begin … end, summed."""
    total = np.concatenate([[0.0], np.cumsum((frames.astype(np.float64) ** 2).sum(axis=1))])
    between: npt.NDArray[np.float64] = total[end] - total[begin]
    return between


def _refined(first: UInt8Array, second: UInt8Array, offset: int) -> float:
    """The same at one offset, by what moves within the overlap: a camera may have turned before."""
    mine, other = _overlap(first.shape[0], second.shape[0], offset)
    a, b = (_changes(_flat(frames))[0] for frames in (first[mine], second[other]))
    return float(_curve(a, b, np.zeros(1, np.int64))[0])


def _changes(frames: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(what is above the noise of its place in each frame, what stands still): [T, D], [D]."""
    some = np.ascontiguousarray(frames[:: max(1, frames.shape[0] // _FRAMES_FOR_MEDIAN)].T)
    still = np.median(some, axis=1)
    noise = 1.4826 * np.median(np.abs(some - still[:, None]), axis=1)
    noise = np.maximum(noise, max(_NOISE_FLOOR, float(np.median(noise))))
    left = frames - still
    left -= left.mean(axis=1, keepdims=True)  # the camera's exposure
    size = np.abs(left) - _NOISES * noise
    return np.where(size > 0, np.copysign(size, left), np.float32(0)), still


def _flat(frames: UInt8Array) -> Float32Array:
    return frames.reshape(frames.shape[0], -1).astype(np.float32)


def _coarse(rows: Float32Array, side_px: int) -> Float32Array:
    """Rows [T, side · side] as means of fields of 4 × 4 pixels."""
    n = side_px // 4
    fields = rows.reshape(-1, n, side_px // n, n, side_px // n)
    return np.ascontiguousarray(fields.mean(axis=(2, 4)).reshape(rows.shape[0], -1))


def _centred(rows: Float32Array) -> Float32Array:
    centred: Float32Array = rows - rows.mean(axis=1, keepdims=True)
    return centred


def _unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.maximum(_TINY, np.linalg.norm(rows, axis=1, keepdims=True))
    return unit
