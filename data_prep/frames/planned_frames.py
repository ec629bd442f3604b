"""Frames by a plan: only the pictures that are needed are decoded, in one pass over the packets.

The plan was made from the packets' times alone. Here every frame's own time is compared with what
the plan expects; where they differ, or anything is amiss, PlanBrokenError says so and the file is
read another way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.chatter import overheard
from data_prep.clip import FloatArray, UInt8Array
from data_prep.frames.frame_plan import FramePlan, Run
from data_prep.frames.framing import upright
from data_prep.losses import Losses
from data_prep.media.coded import CodedPictures
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    Scaler,
    open_media,
    packets,
    reason,
    seek,
    video_stream,
)

_AT_ONCE = 16  # packets between two looks at what the decoder complains about

# Decoders that look at what to skip when they are opened, not at each picture.
_DECIDED_AT_OPENING = frozenset({"libdav1d", "libaom-av1", "av1"})

# What H.264 decoders remark where decoding begins at a key picture of an open group of pictures: a
# picture that is to be forgotten was never there. What comes after the key picture is not touched.
_HARMLESS = frozenset({"mmco: unref short failure"})

_WORTH_SEEKING_BYTES = 4 * 1024 * 1024
"""To the beginning of a labelled segment, instead of reading all that comes before it."""

_SEEK_BEFORE_S = 1.0

Numbered = Iterator[tuple[int, Any]]


class _Wanted:
    """The pictures of a run that are wanted: their places in coded order, and their times."""

    def __init__(self, run: Run, coded: CodedPictures) -> None:
        self.indices = frozenset(index for index, _ in run.targets)
        self.ticks = frozenset(int(coded.ticks[index]) for index in self.indices)


class PlanBrokenError(Exception):
    """The decoder does not give what the packets promise."""


class _LandedAmissError(Exception):
    """Seeking did not lead to a place before the first picture of the plan."""


@dataclass
class PlannedFrames:
    """Gives the frames of a plan, step by step. Scaled to `size_px` (width, height, upright).

    loop_filter: False leaves out the codec's smoothing of block edges, which is cheaper and changes
    pictures a little. Raises PlanBrokenError while reading.
    """

    path: str
    size_px: tuple[int, int]
    rotation_deg: int
    coded: CodedPictures
    plan: FramePlan
    loop_filter: bool = True
    mirrored: bool = False
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        self.name = self.plan.way
        self._scaler = Scaler()
        self._pictures = self._read_runs()
        self._ahead: tuple[int, float, UInt8Array] | None = None
        self._first_step = 0

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For each step of the next [T] that has a frame: (position in T, its time s, [H, W, C]).

        The times are those of the plan; they must be asked for in order and whole.
        """
        first, self._first_step = self._first_step, self._first_step + times_s.size
        while True:
            item = self._ahead or next(self._pictures, None)
            self._ahead = item
            if item is None or item[0] >= self._first_step:
                return
            self._ahead = None
            yield item[0] - first, item[1], item[2]

    def drain(self, end_s: float) -> float | None:
        """Nothing: what it gives is checked frame by frame."""
        return None

    def _read_runs(self) -> Iterator[tuple[int, float, UInt8Array]]:
        """(step, time s, picture) in order of steps."""
        if not self.plan.runs:
            return
        first = self.plan.runs[0].first
        if int(self.coded.size[:first].sum()) > _WORTH_SEEKING_BYTES:
            with suppress(_LandedAmissError):  # it comes before anything was given
                yield from self._read_from(float(self.coded.times_s[first]) - _SEEK_BEFORE_S)
                return
        yield from self._read_from(None)

    def _read_from(self, seek_s: float | None) -> Iterator[tuple[int, float, UInt8Array]]:
        problems: list[str] = []
        with open_media(self.path, self.coded.is_reordered) as container:
            stream = video_stream(container)
            if stream is None:
                raise PlanBrokenError("no picture track any more")
            stream.codec_context.thread_count = 1
            if not self.loop_filter:
                stream.codec_context.options = {"skip_loop_filter": "all"}
            found = (packet for packet in packets(container, [stream], problems) if packet.size)
            if seek_s is None:
                numbered: Numbered = enumerate(found)
            elif seek(container, stream, seek_s):
                numbered = self._numbered(found)
            else:
                raise _LandedAmissError
            for run in self.plan.runs:
                yield from self._in_order(run, self._decode(run, numbered, stream.codec_context))
            if problems:
                raise PlanBrokenError(problems[0])

    def _numbered(self, found: Iterator[Any]) -> Numbered:
        """Packets from somewhere in the file on, with their places in coded order.

        Raises _LandedAmissError where they do not begin before the plan does.
        """
        for packet in itertools.islice(found, _AT_ONCE):  # the first may be half of one
            places = np.flatnonzero(self.coded.ticks == packet.pts)
            if places.size and places[0] < self.plan.runs[0].first:
                yield from enumerate(itertools.chain([packet], found), int(places[0]))
                return
        raise _LandedAmissError

    def _decode(self, run: Run, numbered: Numbered, decoder: Any) -> Iterator[Any]:
        """The wanted frames of one run, in the order they are shown."""
        wanted = _Wanted(run, self.coded)
        is_over = False
        while not is_over:
            frames: list[Any] = []
            with _unharmed(frames):
                is_over = self._decode_some(run, wanted, numbered, decoder, frames)
            yield from frames

    def _decode_some(
        self, run: Run, wanted: _Wanted, numbered: Numbered, decoder: Any, frames: list[Any]
    ) -> bool:
        """Decode the next few pictures; whether that was the run's end.

        Pictures that no other refers to are decoded only where they are wanted.
        """
        for _ in range(_AT_ONCE):
            index, packet = next(numbered, (-1, None))
            if packet is None:
                raise PlanBrokenError("the packets end before the plan does")
            if index >= len(self.coded) or packet.pts != self.coded.ticks[index]:
                raise PlanBrokenError("the packets are not those of the first reading")
            if index < run.first:
                continue
            if decoder.name not in _DECIDED_AT_OPENING:
                decoder.skip_frame = "DEFAULT" if index in wanted.indices else "NONREF"
            frames += [frame for frame in decoder.decode(packet) if frame.pts in wanted.ticks]
            if index == run.last:
                frames += [frame for frame in decoder.decode(None) if frame.pts in wanted.ticks]
                decoder.flush_buffers()
                return True
        return False

    def _in_order(self, run: Run, frames: Iterator[Any]) -> Iterator[tuple[int, float, UInt8Array]]:
        """The frames that were wanted, each for the steps it serves.

        Frames come out in the order they are shown, which is that of the steps: one that is passed
        over will not come any more.
        """
        due = deque(run.targets)
        for frame in frames:
            index, steps = due.popleft() if due else (-1, ())
            if index < 0 or frame.pts != self.coded.ticks[index]:
                raise PlanBrokenError("a frame did not come out of the decoder")
            picture = self._picture(frame)
            for step in steps:
                yield step, float(self.coded.times_s[index]), picture
        if due:
            raise PlanBrokenError(f"{len(due)} frames did not come out of the decoder")

    def _picture(self, frame: Any) -> UInt8Array:
        width, height = self.size_px
        if self.rotation_deg % 180:
            width, height = height, width
        picture = self._scaler.rgb(frame, width, height)
        if picture is None:
            raise PlanBrokenError("a frame cannot be scaled")
        self.losses.good()
        return upright(picture, self.rotation_deg, self.mirrored)


@contextmanager
def _unharmed(frames: list[Any]) -> Iterator[None]:
    """Turn what a decoder raises, complains about or marks as damaged into PlanBrokenError."""
    try:
        with overheard() as lines:
            yield
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        raise PlanBrokenError(reason(error)) from error
    complaints = [line for line in lines if line not in _HARMLESS]
    if complaints or any(frame.is_corrupt for frame in frames):
        raise PlanBrokenError(complaints[-1] if complaints else "damaged picture data")
