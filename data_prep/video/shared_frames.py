"""Shared memory that passes decoded frames to the parent process, in slots granted one by one.

The parent grants a slot by writing its number to a pipe; a decoding process without one blocks.
This bounds the bytes decoded ahead, and frames are written once, to where the parent reads them.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Protocol

import numpy as np

from data_prep.clip import UInt8Array
from data_prep.settings import STEPS_PER_CHUNK


class FrameBuffers(Protocol):
    """Allocates the array for the frames of a chunk."""

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        """uint8 [n_steps, 3, side_px, side_px], uninitialised."""


class PrivateBuffers:
    """New memory for every chunk."""

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        return np.zeros((n_steps, 3, side_px, side_px), np.uint8)


def slot_bytes(side_px: int) -> int:
    """Bytes of one chunk's frames, rounded up to whole pages."""
    size = STEPS_PER_CHUNK * 3 * side_px**2
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class SharedSlots:
    """Slots of a shared file, from the side of the decoding process."""

    def __init__(self, file: int, grants: int) -> None:
        """File descriptors of the shared file and of the pipe that slot numbers are read from."""
        self._memory = mmap.mmap(file, 0)
        self._grants = grants
        self.current = -1
        """Number of the slot acquired last, −1 before the first."""
        self._is_held = False

    def acquire(self, n_steps: int, side_px: int) -> UInt8Array:
        if not self._is_held:  # a clip that failed half-way leaves its slot to the next one
            number = os.read(self._grants, 1)
            if not number:  # end of file: the parent has closed the pipe or died
                raise BrokenPipeError
            self.current, self._is_held = number[0], True  # one byte, so at most 256 slots
        return slot_view(self._memory, self.current, n_steps, side_px)

    def release(self) -> int:
        """Hand the slot acquired last to the parent; return its number."""
        self._is_held = False
        return self.current


def slot_view(memory: mmap.mmap, number: int, n_steps: int, side_px: int) -> UInt8Array:
    """uint8 [n_steps, 3, side_px, side_px]: the frames of a slot, without a copy."""
    size, start = n_steps * 3 * side_px**2, number * slot_bytes(side_px)
    flat = np.frombuffer(memory, np.uint8, size, start)
    return flat.reshape(n_steps, 3, side_px, side_px)


def anonymous_file(size: int) -> int:
    """Descriptor of a file without a path, so that nothing is left behind by a killed process."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("decoded-frames")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())  # outlives the object, whose path is already removed
    os.ftruncate(file, size)
    return file
