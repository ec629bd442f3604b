"""Shared memory through which decoded frames reach the parent process: slots, granted one by one.

The parent grants a slot by writing its number to a pipe; a decoding process that has none waits.
So what is decoded ahead is bounded in bytes, and frames are written once, where they are read.
"""

from __future__ import annotations

import mmap
import os
from typing import Protocol

import numpy as np

from data_prep.clip import UInt8Array
from data_prep.settings import STEPS_PER_CHUNK


class FrameBuffers(Protocol):
    """Where decoding puts the frames of a chunk."""

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        """uint8 [n_steps, 3, side_px, side_px], contents undefined."""


class PrivateBuffers:
    """Fresh memory for every chunk."""

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        return np.zeros((n_steps, 3, side_px, side_px), np.uint8)


def slot_bytes(side_px: int) -> int:
    """Bytes of one chunk's frames, whole pages."""
    size = STEPS_PER_CHUNK * 3 * side_px**2
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class SharedSlots:
    """The decoding process's side: slots of a shared file, as the parent grants them."""

    def __init__(self, file: int, grants: int) -> None:
        """Descriptors of the shared file and of the pipe on which slot numbers come."""
        self._memory = mmap.mmap(file, 0)
        self._grants = grants
        self.current = -1
        """Number of the slot taken last."""
        self._is_unspent = False

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        if not self._is_unspent:  # a clip that failed half-way leaves its slot to the next
            number = os.read(self._grants, 1)
            if not number:
                raise BrokenPipeError
            self.current, self._is_unspent = number[0], True
        return slot_view(self._memory, self.current, n_steps, side_px)

    def release(self) -> int:
        """The number of the slot taken last, which is the parent's from now on."""
        self._is_unspent = False
        return self.current


def slot_view(memory: mmap.mmap, number: int, n_steps: int, side_px: int) -> UInt8Array:
    """The frames in a slot, as an array over the shared memory itself."""
    size, start = n_steps * 3 * side_px**2, number * slot_bytes(side_px)
    flat = np.frombuffer(memory, np.uint8, size, start)
    return flat.reshape(n_steps, 3, side_px, side_px)
