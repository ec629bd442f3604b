"""Plan which frames to decode so that every time step gets a close enough one, and decode them.

The guarantee: the presentation time of a step's frame differs from the target time by `tolerance_s`
at most, or it is the frame displayed at the target time (which may be much older, as slides are).

    wanted        x         x         x         x        tolerance: half a step
    allowed    [--------)[--------)[--------)[--------)
    frames    K.........K....p....p....K....p....K
    decoded   K         K....p         K         K

Decoding starts at a keyframe and continues in decode order to the last frame that is needed: a
*run*. For every step, all keyframes from which an allowed frame can be reached are compared by the
cost of the run, with dynamic programming over the steps (neighbouring steps can share a run).

`PlannedReader` decodes the runs in one pass over the packets. The plan is based on packet
timestamps alone, so each decoded frame is checked against it; on a mismatch or any decoding error
it raises PlanMismatchError, and the caller falls back to another reader.
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
from data_prep.decode_errors import DecodeErrors, captured_stderr
from data_prep.heartbeat import beat
from data_prep.media.demuxer import Demuxer
from data_prep.media.packet_times import IntArray, PacketIndex
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    Scaler,
    open_media,
    packets,
    reason,
    seek,
    video_stream,
)
from data_prep.video.resize import rotate
from data_prep.video.sampling import NO_FRAME, frame_shown_at

_EPSILON_S = 1e-6
_BYTES_PER_PX = 0.02  # measured on H.264: decoding a pixel costs as much as this many bytes


@dataclass(frozen=True, slots=True)
class DecodeRange:
    """A run: frames first … last in decode order, starting with a keyframe.

    targets: (index of a frame, the steps that use it), in order of time.
    """

    first: int
    last: int
    targets: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class FramePlan:
    """Runs in decode order; target int64 [T]: index of each step's frame, NO_FRAME without one."""

    ranges: tuple[DecodeRange, ...]
    target: IntArray
    n_pictures: int

    @property
    def n_decoded(self) -> int:
        """Frames passed to the decoder, which skips unwanted non-reference frames among them."""
        return sum(run.last - run.first + 1 for run in self.ranges)

    @property
    def strategy(self) -> str:
        """Short name of the plan, for the user."""
        if all(run.first == run.last for run in self.ranges):
            return "key frames"
        return "parts" if self.n_decoded <= 0.7 * self.n_pictures else "read through"


def plan_frames(
    coded: PacketIndex,
    target_s: FloatArray,
    asked_s: FloatArray,
    tolerance_s: float,
    size_px: int,
    bounds_s: tuple[float, float] = (-np.inf, np.inf),
) -> FramePlan:
    """The cheapest plan that meets the tolerance for target times [T].

    asked_s [T]: the target times clamped to the video, NaN where no frame is wanted; the frame
    displayed at that time is the exact one. Both arrays are non-decreasing. coded must be reliable
    (`is_reliable`). size_px: pixels of a frame. bounds_s: the labelled segment; a frame outside of
    it is used only if it is displayed at an asked time.
    """
    costs = _CostModel(coded, target_s, asked_s, tolerance_s, size_px, bounds_s)
    steps = np.flatnonzero(~np.isnan(asked_s))
    starts = costs.cheapest(steps)
    reach = costs.reach(steps, starts)
    target = np.full(asked_s.size, NO_FRAME, np.int64)
    for step, start in zip(steps, starts, strict=True):
        target[step] = costs.best_within(int(step), start, reach[start])
    return FramePlan(_decode_ranges(steps, starts, target), target, len(coded))


def _decode_ranges(steps: IntArray, starts: list[int], target: IntArray) -> tuple[DecodeRange, ...]:
    """One run per start in use; adjacent runs are joined, so that the decoder is not flushed."""
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


class _CostModel:
    """The frames allowed for each step, and the cost of decoding them."""

    def __init__(
        self,
        coded: PacketIndex,
        target_s: FloatArray,
        asked_s: FloatArray,
        tolerance_s: float,
        size_px: int,
        bounds_s: tuple[float, float],
    ) -> None:
        self._bounds_s = np.array(bounds_s) - _EPSILON_S
        self._coded, self._wanted_s, self._tolerance_s = coded, target_s, tolerance_s
        self._keys = np.flatnonzero(coded.is_key)
        # Leading frames of an open GOP follow a keyframe in decode order, but are displayed before
        # it and refer to frames before it: their run must start at an earlier keyframe.
        governing = self._keys[np.searchsorted(self._keys, np.arange(len(coded)), "right") - 1]
        for index in np.flatnonzero(coded.times_s < coded.times_s[governing]):
            start = int(governing[index])
            while start > 0 and coded.times_s[index] < coded.times_s[start]:
                start = int(self._keys[np.searchsorted(self._keys, start) - 1])
            governing[index] = start
        self._start = governing
        weight = coded.size + _BYTES_PER_PX * size_px
        self._spent = np.concatenate([[0.0], np.cumsum(weight)])
        # Cost of a frame at the edge of the tolerance: half a keyframe, so that neighbouring
        # steps do not share a run's last frame where a little more decoding gives each its own.
        self._edge_cost = 0.5 * float(weight[self._keys].mean()) / max(tolerance_s, 1e-3)
        shown = np.flatnonzero(coded.is_shown)
        self._order = shown[np.argsort(coded.times_s[shown], kind="stable")]
        self._sorted_s = coded.times_s[self._order]
        self._exact = frame_shown_at(self._sorted_s, asked_s)
        # Frames displayed later than all before them in decode order count as reference frames.
        earlier = np.maximum.accumulate(np.concatenate([[-np.inf], coded.times_s[:-1]]))
        self._is_anchor = coded.times_s > earlier

    def _allowed(self, step: int) -> IntArray:
        """Indices of the frames within the tolerance, in order of time; else of the exact frame."""
        exact = int(self._exact[step])
        if self._tolerance_s == 0:
            return self._order[exact : exact + 1]
        window = self._wanted_s[step] + np.array([-1, 1]) * self._tolerance_s - _EPSILON_S
        window = np.clip(window, *self._bounds_s)
        first, end = np.searchsorted(self._sorted_s, window).tolist()
        return self._order[first:end] if first < end else self._order[exact : exact + 1]

    def _options(self, step: int) -> dict[int, int]:
        """{start of a run: first allowed frame in decode order that it must reach}."""
        allowed = self._allowed(step)
        options: dict[int, int] = {}
        for index, start in zip(allowed.tolist(), self._start[allowed].tolist(), strict=True):
            options[start] = min(index, options.get(start, index))
        return options

    def _cost(self, start: int, last: int) -> float:
        return float(self._spent[last + 1] - self._spent[start])

    def cheapest(self, steps: IntArray) -> list[int]:
        """Start of the cheapest run for each step, non-decreasing (dynamic programming)."""
        # best[start] = (cost of all steps so far, last frame that this run has decoded)
        best: dict[int, tuple[float, int]] = {-1: (0.0, -1)}
        origins: list[dict[int, int]] = []
        for step in steps:
            beat()
            target_s = float(self._wanted_s[step])
            current: dict[int, tuple[float, int]] = {}
            origin: dict[int, int] = {}
            earlier = sorted(best)
            cheapest, position = -1, 0  # best of all runs with an earlier start
            for start, last in sorted(self._options(int(step)).items()):
                while position < len(earlier) and earlier[position] < start:
                    if cheapest not in best or best[earlier[position]] < best[cheapest]:
                        cheapest = earlier[position]
                    position += 1
                edge_cost = self._edge_cost * abs(float(self._coded.times_s[last]) - target_s)
                for before in {cheapest, start} & best.keys():
                    cost, reached = best[before]
                    decoded = reached if before == start else start - 1
                    reach = max(decoded, last)
                    total = cost + edge_cost + self._cost(start, reach) - self._cost(start, decoded)
                    if start not in current or (total, reach) < current[start]:
                        current[start], origin[start] = (total, reach), before
            best = current
            origins.append(origin)
        chosen = [min(best, key=lambda key: best[key][0])] if origins else []
        for origin in reversed(origins[1:]):
            chosen.append(origin[chosen[-1]])
        return chosen[::-1]

    def reach(self, steps: IntArray, starts: list[int]) -> dict[int, int]:
        """{start: last frame to decode}: the last of the first allowed frames of its steps."""
        reach: dict[int, int] = {}
        for step, start in zip(steps, starts, strict=True):
            last = self._options(int(step)).get(start, start)
            reach[start] = max(reach.get(start, start), last)
        return reach

    def best_within(self, step: int, start: int, last: int) -> int:
        """The allowed frame nearest to the target time among those that the run decodes anyway."""
        allowed = self._allowed(step)
        inside = allowed[(self._start[allowed] == start) & (allowed <= last)]
        references = inside[self._is_anchor[inside]]
        # a reference frame is decoded in any case; another one would be extra work
        candidates = references if references.size else inside[[int(np.argmin(inside))]]
        distance = np.abs(self._coded.times_s[candidates] - self._wanted_s[step])
        return int(candidates[int(np.argmin(distance))])


_AT_ONCE = 16  # packets between two checks of the decoder's messages

# Decoders that read `skip_frame` when they are opened, not for each frame.
_DECIDED_AT_OPENING = frozenset({"libdav1d", "libaom-av1", "av1"})

# Logged for H.264 when decoding starts at a keyframe of an open GOP: a reference frame that is to
# be dropped was never decoded. Frames after the keyframe are not affected.
_HARMLESS = frozenset({"mmco: unref short failure"})

_WORTH_SEEKING_BYTES = 4 * 1024 * 1024
"""Packets before a segment that make seeking cheaper than demuxing from the start."""

_SEEK_BEFORE_S = 1.0  # margin: the seek must land before the plan's first packet

Numbered = Iterator[tuple[int, Any]]


class _Wanted:
    """The target frames of a run: their indices in decode order and their timestamps."""

    def __init__(self, run: DecodeRange, coded: PacketIndex) -> None:
        self.indices = frozenset(index for index, _ in run.targets)
        self.ticks = frozenset(int(coded.ticks[index]) for index in self.indices)


class PlanMismatchError(Exception):
    """The decoder's output does not match the packet timestamps."""


class _SeekMissedError(Exception):
    """The seek did not land before the first frame of the plan."""


@dataclass
class PlannedReader:
    """Yields the frames of a plan, step by step, scaled to `size_px` (width, height, upright).

    loop_filter: False skips the codec's deblocking filter, which is cheaper and changes the frames
    slightly. Raises PlanMismatchError while reading.
    """

    path: str
    size_px: tuple[int, int]
    rotation_deg: int
    coded: PacketIndex
    plan: FramePlan
    loop_filter: bool = True
    mirrored: bool = False
    demuxer: Demuxer | None = None
    """Shared with the reader of the audio; by default the file is opened again."""
    errors: DecodeErrors = field(default_factory=DecodeErrors)

    def __post_init__(self) -> None:
        self.name = self.plan.strategy
        self._scaler = Scaler()
        self._frames = self._read_ranges()
        self._lookahead: tuple[int, float, UInt8Array] | None = None
        self._first_step = 0
        self._demuxer = self.demuxer or Demuxer(self.path, self.coded.is_reordered)
        first = self.plan.ranges[0].first if self.plan.ranges else 0
        self._seeks = int(self.coded.size[:first].sum()) > _WORTH_SEEKING_BYTES
        if self.plan.ranges and not self._seeks:
            self._demuxer.expect("video")

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For each of the next T steps that has a frame: (position in T, frame time s, [H, W, C]).

        times_s [T] must be the plan's asked times, in consecutive blocks; only its size is used.
        """
        first, self._first_step = self._first_step, self._first_step + times_s.size
        while True:
            item = self._lookahead or next(self._frames, None)
            self._lookahead = item
            if item is None or item[0] >= self._first_step:  # kept for the next block
                return
            self._lookahead = None
            yield item[0] - first, item[1], item[2]

    def drain(self, end_s: float) -> float | None:
        """None: every frame is checked as it is read, so nothing has to be drained."""
        return None

    def _read_ranges(self) -> Iterator[tuple[int, float, UInt8Array]]:
        """(step, time s, frame [H, W, C]) in order of steps."""
        if not self.plan.ranges:
            return
        if self._seeks:
            first_s = float(self.coded.times_s[self.plan.ranges[0].first])
            with suppress(_SeekMissedError):  # raised before the first frame is yielded
                yield from self._read_from(first_s - _SEEK_BEFORE_S)
                return
        yield from self._read_from(None)

    def _read_from(self, seek_s: float | None) -> Iterator[tuple[int, float, UInt8Array]]:
        problems: list[str] = []
        with self._packets_from(seek_s, problems) as (stream, numbered):
            stream.codec_context.thread_count = 1
            if not self.loop_filter:
                stream.codec_context.options = {"skip_loop_filter": "all"}
            for run in self.plan.ranges:
                yield from self._in_order(run, self._decode(run, numbered, stream.codec_context))
            if problems:
                raise PlanMismatchError(problems[0])

    @contextmanager
    def _packets_from(
        self, seek_s: float | None, problems: list[str]
    ) -> Iterator[tuple[Any, Numbered]]:
        """The stream, and its packets from the start of the file or near a time."""
        if seek_s is None:
            with self._demuxer.track("video", problems) as (stream, source):
                if stream is None:
                    raise PlanMismatchError("the picture track is gone")
                yield stream, enumerate(packet for packet in source if packet.size)
            return
        with open_media(self.path, self.coded.is_reordered) as container:
            stream = video_stream(container)
            if stream is None or not seek(container, stream, seek_s):
                raise _SeekMissedError
            source = packets(container, [stream], problems)
            yield stream, self._numbered(packet for packet in source if packet.size)

    def _numbered(self, source: Iterator[Any]) -> Numbered:
        """Packets after a seek, with their indices in decode order.

        Raises _SeekMissedError if they do not start before the plan does.
        """
        for packet in itertools.islice(source, _AT_ONCE):  # the first may be incomplete
            indices = np.flatnonzero(self.coded.ticks == packet.pts)
            if indices.size and indices[0] < self.plan.ranges[0].first:
                yield from enumerate(itertools.chain([packet], source), int(indices[0]))
                return
        raise _SeekMissedError

    def _decode(self, run: DecodeRange, numbered: Numbered, decoder: Any) -> Iterator[Any]:
        """The target frames of one run, in presentation order."""
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
        """Decode the next few packets; True at the end of the run.

        Non-reference frames are decoded only if they are targets.
        """
        for _ in range(_AT_ONCE):
            index, packet = next(numbered, (-1, None))
            if packet is None:
                raise PlanMismatchError("the packets end before the plan does")
            if index >= len(self.coded) or packet.pts != self.coded.ticks[index]:
                raise PlanMismatchError("the packets differ from those that were planned with")
            if index < run.first:  # between runs, packets are demuxed but not decoded
                continue
            if decoder.name not in _DECIDED_AT_OPENING:
                # NONREF: frames that no other frame refers to are not decoded
                decoder.skip_frame = "DEFAULT" if index in wanted.indices else "NONREF"
            # the decoder also returns the reference frames that were decoded on the way
            frames += [frame for frame in decoder.decode(packet) if frame.pts in wanted.ticks]
            if index == run.last:
                # draining returns the frames that the decoder held back for reordering
                frames += [frame for frame in decoder.decode(None) if frame.pts in wanted.ticks]
                decoder.flush_buffers()  # a drained decoder takes no packets until it is flushed
                return True
        return False

    def _in_order(
        self, run: DecodeRange, frames: Iterator[Any]
    ) -> Iterator[tuple[int, float, UInt8Array]]:
        """(step, time s, frame [H, W, C]) for every step that a target frame serves.

        The decoder outputs frames in presentation order, which is the order of the steps, so a
        target that is skipped will not come later.
        """
        expected = deque(run.targets)
        for frame in frames:
            index, steps = expected.popleft() if expected else (-1, ())
            if index < 0 or frame.pts != self.coded.ticks[index]:
                raise PlanMismatchError("the decoder did not return a planned frame")
            picture = self._to_array(frame)
            for step in steps:
                yield step, float(self.coded.times_s[index]), picture
        if expected:
            raise PlanMismatchError(f"the decoder did not return {len(expected)} planned frames")

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
    """Turn decoder exceptions, log messages and corrupt frames into PlanMismatchError."""
    try:
        with captured_stderr() as lines:  # decoders conceal damage and only log it
            yield
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        raise PlanMismatchError(reason(error)) from error
    complaints = [line for line in lines if line not in _HARMLESS]
    if complaints or any(frame.is_corrupt for frame in frames):
        raise PlanMismatchError(complaints[-1] if complaints else "damaged picture data")
