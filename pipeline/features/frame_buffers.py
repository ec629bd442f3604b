"""The parent's side of the shared memory that decoded frames come in."""

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

_SLOTS = 3  # one being filled, one waiting to be read, one being read


@dataclass(frozen=True)
class BorrowedChunk(ClipChunk):
    """A chunk whose frames lie in shared memory until `give_back` is called."""

    done: Callable[[], None] = lambda: None

    def release(self) -> None:
        self.done()


class SharedFramePool:
    """Slots that one decoding process writes frames to. Freed when nobody looks at it any more."""

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
        """See to it that the process has a slot to write to; waits for one, unless it is over."""
        while not self._is_granted and not is_over():
            try:
                number = self._free.get(timeout=0.5)
            except queue.Empty:
                continue  # the reader is busy encoding; look whether it has gone
            os.write(self._grant, bytes([number]))
            self._is_granted = True

    def lend(self, message: SharedChunk) -> BorrowedChunk:
        """The chunk that the process wrote, its frames where they are."""
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
        """Close the descriptors; the memory lives on while chunks are lent."""
        for descriptor in (self.file, self.grants, self._grant):
            os.close(descriptor)


def _anonymous_file(size: int) -> int:
    """Descriptor of a file that no path leads to, so that nothing is left behind when killed."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("decoded-frames")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, size)
    return file
