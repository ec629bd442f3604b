"""Frame difference on an 8 × 8 grid: a cheap motion feature.

A CNN trained on photographs describes what is in a frame, but hardly whether it moved. Each value
is the mean absolute brightness change of a grid cell's pixels since the previous frame, so motion
within a cell counts too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_prep.clip import UInt8Array

Float16Array = npt.NDArray[np.float16]

_SIDE = 8
N_FIELDS = _SIDE * _SIDE


class FrameDifference:
    """Measures the frames of one clip, which must come in order."""

    def __init__(self) -> None:
        self._before: UInt8Array | None = None

    def measure(self, frame: UInt8Array) -> Float16Array:
        """uint8 [C, H, W] → [N_FIELDS], rows from the top, in 0…1; zeros for the first frame."""
        brightness = frame.mean(axis=0, dtype=np.float32).astype(np.uint8)
        before, self._before = self._before, brightness
        if before is None:
            return np.zeros(N_FIELDS, np.float16)
        # max − min: a difference of uint8 would wrap around
        change = np.maximum(brightness, before) - np.minimum(brightness, before)
        rows, columns = (_bounds(size) for size in change.shape)
        # summed as uint32, as a cell's sum exceeds uint8
        sums = np.add.reduceat(np.add.reduceat(change, rows[:-1], 0, np.uint32), columns[:-1], 1)
        counts = np.outer(np.diff(rows), np.diff(columns))
        return np.asarray((sums / counts / 255).ravel(), np.float16)


def _bounds(size: int) -> list[int]:
    """The 9 cell boundaries along one axis."""
    # symmetric, so that cells of the mirrored frame are cells again (except amid an odd size)
    first = [cell * size // _SIDE for cell in range(_SIDE // 2 + 1)]
    return first + [size - bound for bound in reversed(first[:-1])]


def mirrored_difference(change: Float16Array) -> Float16Array:
    """[N_FIELDS] of the same frames mirrored left to right; their width must be even."""
    return change.reshape(_SIDE, _SIDE)[:, ::-1].ravel()
