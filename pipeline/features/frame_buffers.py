"""Shared memory for decoded frames, the parent's side.

The parent grants slots to the decoding process one at a time through a pipe; a slot becomes free
again when the chunk in it is released.
"""

from __future__ import annotations

import mmap
import os
import queue
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from data_prep.clip import ClipChunk, UInt8Array
from data_prep.video.shared_frames import slot_bytes, slot_view
from data_prep.worker.protocol import SharedChunk

_SLOTS = 3  # one is filled, one waits to be read, one is read


@dataclass(frozen=True)
class BorrowedChunk(ClipChunk):
    """A chunk whose frames are in shared memory until `release` is called."""

    done: Callable[[], None] = lambda: None

    def release(self) -> None:
        self.done()


class SharedFramePool:
    """Slots that one decoding process writes frames to.

    file and grants are the descriptors to pass to that process: the memory, and the pipe's end that
    slot numbers are read from.
    """

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        size = _SLOTS * slot_bytes(side_px)
        self.file = _anonymous_file(size)
        self._memory = mmap.mmap(self.file, size)
        self.grants, self._grant = os.pipe()
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(_SLOTS):
            self._free.put(number)
        self._is_granted = False

    def grant(self, is_over: Callable[[], bool]) -> None:
        """Make sure that the process has a slot to write to; waits for one until is_over()."""
        while not self._is_granted and not is_over():
            try:
                number = self._free.get(timeout=0.5)
            except queue.Empty:
                continue  # no slot was released yet: check is_over
            os.write(self._grant, bytes([number]))
            self._is_granted = True  # until a chunk uses it: one grant for many messages

    def lend(self, message: SharedChunk) -> BorrowedChunk:
        """The chunk that the process wrote, without copying its frames."""
        self._is_granted = False
        number = message.slot
        return BorrowedChunk(
            message.index, self._view(message), message.frame_times_s, message.waveform,
            message.video_mask, message.audio_mask, message.jpegs, message.waveform_scale,
            lambda: self._free.put(number),
        )  # fmt: skip

    def _view(self, message: SharedChunk) -> UInt8Array:
        return slot_view(self._memory, message.slot, message.n_steps, message.side_px)

    def close(self) -> None:
        """Close the descriptors; the mapping lives on while borrowed chunks refer to it."""
        for descriptor in (self.file, self.grants, self._grant):
            os.close(descriptor)


def _anonymous_file(size: int) -> int:
    """Descriptor of a file without a path, so that nothing is left behind by a killed process."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("decoded-frames")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())  # outlives the object, whose path is already removed
    os.ftruncate(file, size)
    return file
