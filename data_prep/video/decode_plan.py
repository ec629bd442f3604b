"""Which pictures to decode so that every time step gets a frame near enough: pure arithmetic.

A promise is kept: a frame's own time lies at most `tolerance_s` from the wanted time, or it is the
one that is shown at the wanted time (which may have been put up long before, as slides are).

    wanted        x         x         x         x        tolerance: half a step
    may be     [--------)[--------)[--------)[--------)
    pictures  K.........K....p....p....K....p....K
    decoded   K         K....p         K         K

Decoding begins at a key picture and goes on, in coded order, to the last picture that is needed: a
*run*. For every step, all key pictures from which an allowed frame can be reached are compared by
what the run costs, by dynamic programming over the steps (the choices of neighbours share runs).

Frames by a plan: only the pictures that are needed are decoded, in one pass over the packets.

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

from data_prep.clip import FloatArray, UInt8Array
from data_prep.decode_errors import DecodeErrors
from data_prep.heartbeat import beat
from data_prep.media.packet_index import IntArray, PacketIndex
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    Scaler,
    open_media,
    packets,
    reason,
    seek,
    video_stream,
)
from data_prep.stderr_capture import captured_stderr
from data_prep.video.resize import rotate
from data_prep.video.sampling import NO_FRAME, frame_shown_at

_EPSILON_S = 1e-6
_BYTES_PER_PX = 0.02  # measured on H.264: reconstructing a pixel costs as much as so many bytes


@dataclass(frozen=True)
class DecodeRange:
    """Pictures first … last, in coded order, beginning with a key picture.

    targets: (index of a picture, the steps it serves), in order of time.
    """

    first: int
    last: int
    targets: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class FramePlan:
    """Runs in order, and the picture for each step: int64 [T], NO_FRAME where there is none."""

    ranges: tuple[DecodeRange, ...]
    target: IntArray
    n_pictures: int

    @property
    def n_decoded(self) -> int:
        """Pictures handed to the decoder, which skips those that no other refers to."""
        return sum(run.last - run.first + 1 for run in self.ranges)

    @property
    def strategy(self) -> str:
        """The plan in a word or two, for people."""
        if all(run.first == run.last for run in self.ranges):
            return "key frames"
        return "parts" if self.n_decoded <= 0.7 * self.n_pictures else "read through"


def plan_frames(
    coded: PacketIndex,
    wanted_s: FloatArray,
    asked_s: FloatArray,
    tolerance_s: float,
    size_px: int,
    bounds_s: tuple[float, float] = (-np.inf, np.inf),
) -> FramePlan:
    """The cheapest plan that keeps the promise for wanted times [T].

    asked_s [T] is the wanted time moved to where there is picture, NaN where no frame is wanted:
    the frame shown then is the exact one. Both are non-decreasing. coded must be sound
    (`is_sound`); size_px: pixels of a picture. bounds_s: a labelled segment, outside of which no
    frame is taken that is not shown at an asked time.
    """
    choice = _Choices(coded, wanted_s, asked_s, tolerance_s, size_px, bounds_s)
    steps = np.flatnonzero(~np.isnan(asked_s))
    starts = choice.cheapest(steps)
    reach = choice.reach(steps, starts)
    target = np.full(asked_s.size, NO_FRAME, np.int64)
    for step, start in zip(steps, starts, strict=True):
        target[step] = choice.best_within(int(step), start, reach[start])
    return FramePlan(_decode_ranges(steps, starts, target), target, len(coded))


def _decode_ranges(steps: IntArray, starts: list[int], target: IntArray) -> tuple[DecodeRange, ...]:
    """One run for each start in use; runs that touch are joined, so that nothing is begun anew."""
    serves: dict[int, dict[int, list[int]]] = {}
    for step, start in zip(steps, starts, strict=True):
        serves.setdefault(start, {}).setdefault(int(target[step]), []).append(int(step))
    runs: list[DecodeRange] = []
    for start, pictures in sorted(serves.items()):
        targets = tuple((index, tuple(of)) for index, of in pictures.items())
        run = DecodeRange(start, max(pictures), targets)
        if runs and run.first <= runs[-1].last + 1:
            before = runs.pop()
            run = DecodeRange(before.first, max(before.last, run.last), _merged(before, run))
        runs.append(run)
    return tuple(runs)


def _merged(first: DecodeRange, second: DecodeRange) -> tuple[tuple[int, tuple[int, ...]], ...]:
    serves: dict[int, tuple[int, ...]] = {}
    for index, steps in (*first.targets, *second.targets):
        serves[index] = (*serves.get(index, ()), *steps)
    return tuple(serves.items())


class _Choices:
    """What each step may be given, and what that costs."""

    def __init__(
        self,
        coded: PacketIndex,
        wanted_s: FloatArray,
        asked_s: FloatArray,
        tolerance_s: float,
        size_px: int,
        bounds_s: tuple[float, float],
    ) -> None:
        self._bounds_s = np.array(bounds_s) - _EPSILON_S
        self._coded, self._wanted_s, self._tolerance_s = coded, wanted_s, tolerance_s
        self._keys = np.flatnonzero(coded.is_key)
        # A picture can be reached from the last key picture before it in coded order that is not
        # shown after it: pictures that follow a key picture but are shown before it refer back.
        governing = self._keys[np.searchsorted(self._keys, np.arange(len(coded)), "right") - 1]
        for index in np.flatnonzero(coded.times_s < coded.times_s[governing]):
            start = int(governing[index])
            while start > 0 and coded.times_s[index] < coded.times_s[start]:
                start = int(self._keys[np.searchsorted(self._keys, start) - 1])
            governing[index] = start
        self._start = governing
        weight = coded.size + _BYTES_PER_PX * size_px
        self._spent = np.concatenate([[0.0], np.cumsum(weight)])
        # What a frame at the edge of the tolerance is worth to avoid: half a key picture, so that
        # neighbouring steps do not share one end of a run where a little more work parts them.
        self._edge_cost = 0.5 * float(weight[self._keys].mean()) / max(tolerance_s, 1e-3)
        shown = np.flatnonzero(coded.is_shown)
        self._order = shown[np.argsort(coded.times_s[shown], kind="stable")]
        self._sorted_s = coded.times_s[self._order]
        self._exact = frame_shown_at(self._sorted_s, asked_s)
        # Pictures shown later than all before them in coded order: others are built on them.
        earlier = np.maximum.accumulate(np.concatenate([[-np.inf], coded.times_s[:-1]]))
        self._is_anchor = coded.times_s > earlier

    def _allowed(self, step: int) -> IntArray:
        """Indices of the pictures that keep the promise, in order of time."""
        exact = int(self._exact[step])
        if self._tolerance_s == 0:
            return self._order[exact : exact + 1]
        window = self._wanted_s[step] + np.array([-1, 1]) * self._tolerance_s - _EPSILON_S
        window = np.clip(window, *self._bounds_s)
        first, end = np.searchsorted(self._sorted_s, window).tolist()
        return self._order[first:end] if first < end else self._order[exact : exact + 1]

    def _options(self, step: int) -> dict[int, int]:
        """{start of a run: first picture in coded order that it must reach}."""
        allowed = self._allowed(step)
        options: dict[int, int] = {}
        for index, start in zip(allowed.tolist(), self._start[allowed].tolist(), strict=True):
            options[start] = min(index, options.get(start, index))
        return options

    def _cost(self, start: int, last: int) -> float:
        return float(self._spent[last + 1] - self._spent[start])

    def cheapest(self, steps: IntArray) -> list[int]:
        """The start of the run that serves each step, non-decreasing."""
        # best[start] = (cost of all steps so far, how far the run from `start` reaches by then)
        best: dict[int, tuple[float, int]] = {-1: (0.0, -1)}
        came: list[dict[int, int]] = []
        for step in steps:
            beat()
            wanted_s = float(self._wanted_s[step])
            new: dict[int, tuple[float, int]] = {}
            origin: dict[int, int] = {}
            earlier = sorted(best)
            cheapest, position = -1, 0  # the best of all runs that begin before `start`
            for start, last in sorted(self._options(int(step)).items()):
                while position < len(earlier) and earlier[position] < start:
                    if cheapest not in best or best[earlier[position]] < best[cheapest]:
                        cheapest = earlier[position]
                    position += 1
                far = self._edge_cost * abs(float(self._coded.times_s[last]) - wanted_s)
                for before in {cheapest, start} & best.keys():
                    cost, reached = best[before]
                    known = reached if before == start else start - 1
                    reach = max(known, last)
                    total = cost + far + self._cost(start, reach) - self._cost(start, known)
                    if start not in new or (total, reach) < new[start]:
                        new[start], origin[start] = (total, reach), before
            best = new
            came.append(origin)
        chosen = [min(best, key=lambda key: best[key][0])] if came else []
        for origin in reversed(came[1:]):
            chosen.append(origin[chosen[-1]])
        return chosen[::-1]

    def reach(self, steps: IntArray, starts: list[int]) -> dict[int, int]:
        """How far each run must go: to the last of the first allowed pictures of its steps."""
        reach: dict[int, int] = {}
        for step, start in zip(steps, starts, strict=True):
            last = self._options(int(step)).get(start, start)
            reach[start] = max(reach.get(start, start), last)
        return reach

    def best_within(self, step: int, start: int, last: int) -> int:
        """Of what the run decodes anyway, the allowed picture nearest to the wanted time."""
        allowed = self._allowed(step)
        inside = allowed[(self._start[allowed] == start) & (allowed <= last)]
        free = inside[self._is_anchor[inside]]
        candidates = free if free.size else inside[[int(np.argmin(inside))]]
        distance = np.abs(self._coded.times_s[candidates] - self._wanted_s[step])
        return int(candidates[int(np.argmin(distance))])


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

    def __init__(self, run: DecodeRange, coded: PacketIndex) -> None:
        self.indices = frozenset(index for index, _ in run.targets)
        self.ticks = frozenset(int(coded.ticks[index]) for index in self.indices)


class PlanMismatchError(Exception):
    """The decoder does not give what the packets promise."""


class _SeekMissedError(Exception):
    """Seeking did not lead to a place before the first picture of the plan."""


@dataclass
class PlannedReader:
    """Gives the frames of a plan, step by step. Scaled to `size_px` (width, height, upright).

    loop_filter: False leaves out the codec's smoothing of block edges, which is cheaper and changes
    pictures a little. Raises PlanBrokenError while reading.
    """

    path: str
    size_px: tuple[int, int]
    rotation_deg: int
    coded: PacketIndex
    plan: FramePlan
    loop_filter: bool = True
    mirrored: bool = False
    errors: DecodeErrors = field(default_factory=DecodeErrors)

    def __post_init__(self) -> None:
        self.name = self.plan.strategy
        self._scaler = Scaler()
        self._pictures = self._read_ranges()
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

    def _read_ranges(self) -> Iterator[tuple[int, float, UInt8Array]]:
        """(step, time s, picture) in order of steps."""
        if not self.plan.ranges:
            return
        first = self.plan.ranges[0].first
        if int(self.coded.size[:first].sum()) > _WORTH_SEEKING_BYTES:
            with suppress(_SeekMissedError):  # it comes before anything was given
                yield from self._read_from(float(self.coded.times_s[first]) - _SEEK_BEFORE_S)
                return
        yield from self._read_from(None)

    def _read_from(self, seek_s: float | None) -> Iterator[tuple[int, float, UInt8Array]]:
        problems: list[str] = []
        with open_media(self.path, self.coded.is_reordered) as container:
            stream = video_stream(container)
            if stream is None:
                raise PlanMismatchError("no picture track any more")
            stream.codec_context.thread_count = 1
            if not self.loop_filter:
                stream.codec_context.options = {"skip_loop_filter": "all"}
            found = (packet for packet in packets(container, [stream], problems) if packet.size)
            if seek_s is None:
                numbered: Numbered = enumerate(found)
            elif seek(container, stream, seek_s):
                numbered = self._numbered(found)
            else:
                raise _SeekMissedError
            for run in self.plan.ranges:
                yield from self._in_order(run, self._decode(run, numbered, stream.codec_context))
            if problems:
                raise PlanMismatchError(problems[0])

    def _numbered(self, found: Iterator[Any]) -> Numbered:
        """Packets from somewhere in the file on, with their places in coded order.

        Raises _LandedAmissError where they do not begin before the plan does.
        """
        for packet in itertools.islice(found, _AT_ONCE):  # the first may be half of one
            places = np.flatnonzero(self.coded.ticks == packet.pts)
            if places.size and places[0] < self.plan.ranges[0].first:
                yield from enumerate(itertools.chain([packet], found), int(places[0]))
                return
        raise _SeekMissedError

    def _decode(self, run: DecodeRange, numbered: Numbered, decoder: Any) -> Iterator[Any]:
        """The wanted frames of one run, in the order they are shown."""
        wanted = _Wanted(run, self.coded)
        is_over = False
        while not is_over:
            frames: list[Any] = []
            with _undamaged(frames):
                is_over = self._decode_some(run, wanted, numbered, decoder, frames)
            yield from frames

    def _decode_some(
        self, run: DecodeRange, wanted: _Wanted, numbered: Numbered, decoder: Any, frames: list[Any]
    ) -> bool:
        """Decode the next few pictures; whether that was the run's end.

        Pictures that no other refers to are decoded only where they are wanted.
        """
        for _ in range(_AT_ONCE):
            index, packet = next(numbered, (-1, None))
            if packet is None:
                raise PlanMismatchError("the packets end before the plan does")
            if index >= len(self.coded) or packet.pts != self.coded.ticks[index]:
                raise PlanMismatchError("the packets are not those of the first reading")
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

    def _in_order(
        self, run: DecodeRange, frames: Iterator[Any]
    ) -> Iterator[tuple[int, float, UInt8Array]]:
        """The frames that were wanted, each for the steps it serves.

        Frames come out in the order they are shown, which is that of the steps: one that is passed
        over will not come any more.
        """
        due = deque(run.targets)
        for frame in frames:
            index, steps = due.popleft() if due else (-1, ())
            if index < 0 or frame.pts != self.coded.ticks[index]:
                raise PlanMismatchError("a frame did not come out of the decoder")
            picture = self._to_array(frame)
            for step in steps:
                yield step, float(self.coded.times_s[index]), picture
        if due:
            raise PlanMismatchError(f"{len(due)} frames did not come out of the decoder")

    def _to_array(self, frame: Any) -> UInt8Array:
        width, height = self.size_px
        if self.rotation_deg % 180:
            width, height = height, width
        picture = self._scaler.rgb(frame, width, height)
        if picture is None:
            raise PlanMismatchError("a frame cannot be scaled")
        self.errors.record_success()
        return rotate(picture, self.rotation_deg, self.mirrored)


@contextmanager
def _undamaged(frames: list[Any]) -> Iterator[None]:
    """Turn what a decoder raises, complains about or marks as damaged into PlanBrokenError."""
    try:
        with captured_stderr() as lines:
            yield
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        raise PlanMismatchError(reason(error)) from error
    complaints = [line for line in lines if line not in _HARMLESS]
    if complaints or any(frame.is_corrupt for frame in frames):
        raise PlanMismatchError(complaints[-1] if complaints else "damaged picture data")
