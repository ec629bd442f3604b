"""The coded pictures of a file as its packets tell of them, before anything is decoded."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PacketIndex:
    """One entry per packet of the picture track, in the order they are decoded.

    times_s   [N] when the picture is shown, in seconds on the file's clock
    ticks     [N] the same in the stream's own unit, as the decoder will repeat it
    is_key    [N] decoding can begin here
    is_shown  [N] the picture is part of the recording (no edit list hides it)
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
        """Whether pictures are shown in another order than they are decoded in."""
        return bool(np.any(np.diff(self.ticks) < 0))

    @property
    def is_reliable(self) -> bool:
        """Whether every picture has a time of its own and the first can be decoded."""
        return bool(
            self.ticks.size and self.is_key[0] and np.unique(self.ticks).size == self.ticks.size
        )


class PacketIndexBuilder:
    """Collects packets one by one."""

    def __init__(self) -> None:
        self._times, self._ticks, self._size = array("d"), array("q"), array("q")
        self._flags = bytearray()
        self.is_whole = True
        """False once a packet came that has no time of its own."""

    def add(self, time_s: float | None, ticks: int | None, flags: int, size: int) -> None:
        """flags: 1 for a key picture, 2 for one that is shown."""
        if time_s is None or ticks is None:
            self.is_whole = False
            return
        self._times.append(time_s)
        self._ticks.append(ticks)
        self._flags.append(flags)
        self._size.append(size)

    def build(self) -> PacketIndex | None:
        """None where some packet has no time."""
        if not self.is_whole or not self._ticks:
            return None
        flags = np.frombuffer(bytes(self._flags), np.uint8)
        return PacketIndex(
            np.array(self._times), np.array(self._ticks), (flags & KEY) > 0, (flags & SHOWN) > 0,
            np.array(self._size),
        )  # fmt: skip


KEY, SHOWN = 1, 2
