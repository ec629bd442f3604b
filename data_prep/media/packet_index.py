"""Index of a video stream's packets, built without decoding anything."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PacketIndex:
    """One entry per packet of the video stream, in decode order.

    times_s   [N] presentation time in seconds on the file's clock
    ticks     [N] presentation timestamp in the stream's time base, as decoded frames carry it
    is_key    [N] keyframe: decoding can start here
    is_shown  [N] the frame is presented (no edit list hides it)
    size      [N] bytes
    """

    times_s: FloatArray
    ticks: IntArray
    is_key: BoolArray
    is_shown: BoolArray
    size: IntArray

    def __len__(self) -> int:
        return int(self.ticks.size)

    @property
    def is_reordered(self) -> bool:
        """Whether presentation order differs from decode order (B-frames)."""
        return bool(np.any(np.diff(self.ticks) < 0))

    @property
    def is_reliable(self) -> bool:
        """Whether all timestamps are distinct and the first packet is a keyframe."""
        return bool(
            self.ticks.size and self.is_key[0] and np.unique(self.ticks).size == self.ticks.size
        )


class PacketIndexBuilder:
    """Collects packets one by one."""

    def __init__(self) -> None:
        # arrays, not lists of objects: an hour has some 100 000 packets
        self._times, self._ticks, self._size = array("d"), array("q"), array("q")
        self._flags = bytearray()
        self.is_whole = True
        """False after a packet without a presentation timestamp."""

    def add(self, time_s: float | None, ticks: int | None, flags: int, size: int) -> None:
        """Add a packet. flags: KEY for a keyframe, SHOWN for a frame that is presented."""
        if time_s is None or ticks is None:
            self.is_whole = False
            return
        self._times.append(time_s)
        self._ticks.append(ticks)
        self._flags.append(flags)
        self._size.append(size)

    def build(self) -> PacketIndex | None:
        """The index, or None if there are no packets or one of them has no timestamp."""
        if not self.is_whole or not self._ticks:
            return None
        flags = np.frombuffer(bytes(self._flags), np.uint8)
        return PacketIndex(
            np.array(self._times), np.array(self._ticks), (flags & KEY) > 0, (flags & SHOWN) > 0,
            np.array(self._size),
        )  # fmt: skip


KEY, SHOWN = 1, 2
