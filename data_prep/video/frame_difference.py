"""How much each part of the picture changed since the frame before: a cheap sign of movement.

A CNN trained on photographs describes what is seen, and hardly whether it moved. The picture is
divided into 8 × 8 fields; each field's number is the mean absolute change of its pixels'
brightness, so what moves within a field counts too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_prep.clip import UInt8Array

Float16Array = npt.NDArray[np.float16]

_SIDE = 8
N_FIELDS = _SIDE * _SIDE


class FrameDifference:
    """Takes one clip's frames in order."""

    def __init__(self) -> None:
        self._before: UInt8Array | None = None

    def measure(self, frame: UInt8Array) -> Float16Array:
        """uint8 [C, H, W] → [N_FIELDS], rows from the top, in 0…1; zeros for the first frame."""
        brightness = frame.mean(axis=0, dtype=np.float32).astype(np.uint8)
        before, self._before = self._before, brightness
        if before is None:
            return np.zeros(N_FIELDS, np.float16)
        moved = np.maximum(brightness, before) - np.minimum(brightness, before)
        rows, columns = (_bounds(size) for size in moved.shape)
        sums = np.add.reduceat(np.add.reduceat(moved, rows[:-1], 0, np.uint32), columns[:-1], 1)
        counts = np.outer(np.diff(rows), np.diff(columns))
        return np.asarray((sums / counts / 255).ravel(), np.float16)


def _bounds(size: int) -> list[int]:
    """Where fields begin, and the end: the same from both ends, so that in a mirror they are fields
    again (but for the middle of an odd size)."""
    first = [place * size // _SIDE for place in range(_SIDE // 2 + 1)]
    return first + [size - bound for bound in reversed(first[:-1])]


def mirrored_difference(change: Float16Array) -> Float16Array:
    """[N_FIELDS] of the frames mirrored left to right, which have an even width."""
    return change.reshape(_SIDE, _SIDE)[:, ::-1].ravel()
