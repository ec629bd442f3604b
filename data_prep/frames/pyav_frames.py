"""Every frame decoded in turn, its own timestamp deciding: right also where nothing else is.

For files with damage, pictures without times, or codecs whose key frames cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.clip import FloatArray, UInt8Array
from data_prep.frames.framing import upright
from data_prep.losses import Losses
from data_prep.media.pyav_media import (
    Scaler,
    decode_time_s,
    decoded,
    frame_time_s,
    open_media,
    seek,
    video_stream,
)


@dataclass
class PyavFrames:
    """Reads a video forward and gives the frame shown at each asked time.

    Every frame's own timestamp decides. Frames are scaled to `size_px` (width, height, upright).
    """

    path: str
    size_px: tuple[int, int]
    rotation_deg: int = 0
    mirrored: bool = False
    times_in_order_s: FloatArray | None = None
    """[N] Where the packets' times cannot be believed: frame n is shown at the n-th of these."""
    decode_times_fit: bool = False
    """Then, at least times of decoding are right, but for one delay throughout."""
    losses: Losses = field(default_factory=Losses)
    name: str = "every frame"

    def __post_init__(self) -> None:
        self._scaler = Scaler()
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._shown: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None
        self._started = False

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For each non-NaN time in non-decreasing [T]: (position in T, frame time s, [H, W, C])."""
        cached: tuple[float, UInt8Array | None] | None = None
        for position in np.flatnonzero(~np.isnan(times_s)):
            shown = self._advance(float(times_s[position]))
            if shown is None:
                return
            time_s, frame = shown
            if cached is None or cached[0] != time_s:
                cached = (time_s, self._picture(frame))
            if cached[1] is not None:
                yield int(position), time_s, cached[1]

    def drain(self, end_s: float) -> float | None:
        """Read on up to a time; the time of the last good frame before it, None without any."""
        if self._started:
            self._advance(end_s)
        return None if self._shown is None else self._shown[0]

    def _advance(self, time_s: float) -> tuple[float, Any] | None:
        if not self._started:
            self._start(time_s)
        while self._next is not None and self._next[0] <= time_s + 1e-6:
            self._shown, self._next = self._next, next(self._frames, None)
        return self._shown

    def _start(self, time_s: float) -> None:
        self._started = True
        can_seek = time_s > 20.0 and self.times_in_order_s is None
        for seek_s in (time_s - 1.0, None) if can_seek else (None,):
            self._frames = self._decode(seek_s)
            self._shown = next(self._frames, None)
            if self._shown is None or self._shown[0] > time_s:
                continue  # the seek failed or landed late: read from the beginning
            break
        self._next = next(self._frames, None)

    def _decode(self, seek_s: float | None) -> Iterator[tuple[float, Any]]:
        """(time s, frame) in order of time."""
        with open_media(self.path, reordered=True) as container:
            stream = video_stream(container)
            if stream is None or (seek_s is not None and not seek(container, stream, seek_s)):
                return
            last_s = float("-inf")
            order = None
            if self.times_in_order_s is not None:
                order = _Order(self.times_in_order_s, self.decode_times_fit)
            for frame in decoded(container, stream, self.losses):
                time_s = frame_time_s(frame)
                if order is not None:
                    time_s = order.next_s(frame, self.losses)
                if time_s is None or time_s < last_s:
                    continue  # it has no place on the clock
                last_s = time_s
                yield time_s, frame

    def _picture(self, frame: Any) -> UInt8Array | None:
        width, height = self.size_px
        if self.rotation_deg % 180:
            width, height = height, width
        picture = self._scaler.rgb(frame, width, height)
        if picture is None:
            self.losses.lost("damaged picture data")
            return None
        return upright(picture, self.rotation_deg, self.mirrored)


class _Order:
    """The times of frames that come out in the order they are shown, and know no better."""

    def __init__(self, times_s: FloatArray, decode_times_fit: bool) -> None:
        self._times_s, self._decode_times_fit = times_s, decode_times_fit
        self._usual_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else 0.0
        self._place = -1
        self._n_lost = 0
        self._first_s: float | None = None
        self._last_s = float("-inf")

    def next_s(self, frame: Any, losses: Losses) -> float:
        n_new = 1 + losses.total - self._n_lost  # what was lost had its time, too
        self._place, self._n_lost = self._place + n_new, losses.total
        decode_s = decode_time_s(frame) if self._decode_times_fit else None
        place = min(self._place, self._times_s.size - 1)
        time_s = float(self._times_s[place])
        if self._place == n_new - 1:
            self._first_s = decode_s
        elif self._first_s is not None:
            # the packet that was decoded when it came out: behind by the same delay throughout
            time_s = self._last_s + n_new * self._usual_s
            if decode_s is not None:
                time_s = float(self._times_s[0]) + decode_s - self._first_s
        self._last_s = max(time_s, self._last_s)
        return self._last_s
