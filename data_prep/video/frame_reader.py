"""Which way the frames of a file are read: the cheapest that keeps the promise and can be trusted.

    key frames    they are near enough to every wanted time; nothing else is decoded
    parts         from key frames on to the first picture that will do, then on to the next
    read through  the same where that is nearly all, without pictures that no other refers to
    decord        exact frames of codecs that are not planned for, where its index can be trusted
    every frame   anything amiss, or a kind of file whose packets cannot be planned with

decord's exact path was measured beside the plans (`benchmarks/decoding.py`): it wins nowhere, since
it decodes the pictures that no other refers to as well.

Every frame decoded in turn, its own timestamp deciding: right also where nothing else is.

For files with damage, pictures without times, or codecs whose key frames cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from data_prep.clip import FloatArray, UInt8Array
from data_prep.decode_errors import DecodeErrors
from data_prep.media.declared_duration import MP4
from data_prep.media.probe import MediaInfo
from data_prep.media.pyav_media import (
    Scaler,
    decode_time_s,
    decoded,
    frame_time_s,
    open_media,
    seek,
    video_stream,
)
from data_prep.media.timeline import Timeline
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.decode_plan import PlanMismatchError, PlannedReader, plan_frames
from data_prep.video.decord_reader import DecordMismatchError, DecordReader
from data_prep.video.resize import rotate, scaled_size
from data_prep.video.webp_reader import WebpReader

FALLBACK_ERRORS = (PlanMismatchError, DecordMismatchError)
"""What readers raise that find a file other than its packets say: `read_every_frame` is left."""

# Codecs whose key pictures can be decoded without what came before them.
_PLANNED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "libvpx", "libvpx-vp9", "mpeg4", "mpeg1video",
     "mpeg2video", "mjpeg", "prores", "dnxhd", "h263", "theora"}
)  # fmt: skip

# Containers whose packet index decord reads rightly (it drops the first frames of transport
# streams and has no times for AVI with B-frames).
_DECORD_CONTAINERS = frozenset({MP4, "matroska,webm"})

# decord reads ahead without bound: a worker grew by 150 MB for every minute of a half-hour file.
_DECORD_LONGEST_S = 120.0


class FrameReader(Protocol):
    """Gives the frames shown at times; the ways are interchangeable behind it."""

    name: str
    errors: DecodeErrors

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For the steps of the next [T]: (position in T, time of the frame s, [H, W, C])."""

    def drain(self, end_s: float) -> float | None: ...


@dataclass(frozen=True)
class FrameTimes:
    """When a clip's frames are wanted, on the file's clock.

    wanted_s  [T] the middle of each step
    asked_s   [T] the same, moved into the picture; NaN where the picture does not touch the step
    """

    wanted_s: FloatArray
    asked_s: FloatArray
    bounds_s: tuple[float, float] = (-np.inf, np.inf)
    """Of the labelled segment."""


def open_frame_reader(
    path: str, info: MediaInfo, timeline: Timeline, times: FrameTimes, settings: DecodeSettings
) -> FrameReader | None:
    """The reader for a clip's frames, to be asked for in order; None where none are wanted."""
    if not (timeline.has_video and settings.want_video):
        return None
    size_px = target_px(info, settings.clip)
    if info.container == WebpReader.container:
        return WebpReader(path, size_px, timeline.frame_times_s)
    if not _is_whole(info, timeline):
        return open_sequential_reader(path, info, timeline, settings)
    way = settings.strategy
    if way in ("auto", "plan") and _can_be_planned(info, timeline):
        return _open_planned_reader(path, info, timeline, times, settings)
    if way in ("auto", "decord") and not info.mirrored and _decord_is_fit(info, timeline, settings):
        with suppress(DecordMismatchError):  # another way reads it; the report names which one did
            return DecordReader(path, size_px, timeline.frame_times_s)
    return open_sequential_reader(path, info, timeline, settings)


def _can_be_planned(info: MediaInfo, timeline: Timeline) -> bool:
    coded = timeline.packet_index
    return coded is not None and coded.is_reliable and info.video_codec in _PLANNED_CODECS


def _open_planned_reader(
    path: str, info: MediaInfo, timeline: Timeline, times: FrameTimes, settings: DecodeSettings
) -> PlannedReader:
    assert timeline.packet_index is not None
    assert info.width_px is not None
    assert info.height_px is not None
    clip, area_px = settings.clip, info.width_px * info.height_px
    plan = plan_frames(
        timeline.packet_index,
        times.wanted_s,
        times.asked_s,
        clip.tolerance_s,
        area_px,
        times.bounds_s,
    )
    return PlannedReader(
        path,
        target_px(info, clip),
        info.rotation_deg,
        timeline.packet_index,
        plan,
        clip.loop_filter,
        info.mirrored,
    )


def open_sequential_reader(
    path: str, info: MediaInfo, timeline: Timeline, settings: DecodeSettings
) -> SequentialReader:
    """The way that needs nothing to be as the packets say."""
    size_px = target_px(info, settings.clip)
    times_s = timeline.frame_times_s if timeline.times_in_order else None
    return SequentialReader(
        path, size_px, info.rotation_deg, info.mirrored, times_s, timeline.decode_times_fit
    )


def target_px(info: MediaInfo, clip: ClipSettings) -> tuple[int, int]:
    """(width, height) that decoded pictures are scaled to."""
    return scaled_size(info.display_size_px, side_px(clip), clip.frame_fit)


def side_px(clip: ClipSettings) -> int:
    if clip.frame_size_px is None:
        raise ValueError("clip.frame_size_px must be resolved to the encoder's size first")
    return clip.frame_size_px


def _is_whole(info: MediaInfo, timeline: Timeline) -> bool:
    """Whether nothing is known to be amiss and decoding begins with the first picture."""
    return (
        not timeline.problem
        and timeline.video is not None
        and not timeline.video.broken
        and abs(float(timeline.frame_times_s[0]) - info.zero_s) < 1e-3
    )


def _decord_is_fit(info: MediaInfo, timeline: Timeline, settings: DecodeSettings) -> bool:
    picture = timeline.video
    assert picture is not None
    return (
        settings.clip.tolerance_s == 0
        and info.container in _DECORD_CONTAINERS
        and not timeline.has_hidden_frames
        and not timeline.times_in_order
        and timeline.consistent
        and picture.end_s - picture.start_s <= _DECORD_LONGEST_S
    )


@dataclass
class SequentialReader:
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
    errors: DecodeErrors = field(default_factory=DecodeErrors)
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
                cached = (time_s, self._to_array(frame))
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
                order = _FrameOrder(self.times_in_order_s, self.decode_times_fit)
            for frame in decoded(container, stream, self.errors):
                time_s = frame_time_s(frame)
                if order is not None:
                    time_s = order.next_s(frame, self.errors)
                if time_s is None or time_s < last_s:
                    continue  # it has no place on the clock
                last_s = time_s
                yield time_s, frame

    def _to_array(self, frame: Any) -> UInt8Array | None:
        width, height = self.size_px
        if self.rotation_deg % 180:
            width, height = height, width
        picture = self._scaler.rgb(frame, width, height)
        if picture is None:
            self.errors.record_error("damaged picture data")
            return None
        return rotate(picture, self.rotation_deg, self.mirrored)


class _FrameOrder:
    """The times of frames that come out in the order they are shown, and know no better."""

    def __init__(self, times_s: FloatArray, decode_times_fit: bool) -> None:
        self._times_s, self._decode_times_fit = times_s, decode_times_fit
        self._usual_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else 0.0
        self._place = -1
        self._n_lost = 0
        self._first_s: float | None = None
        self._last_s = float("-inf")

    def next_s(self, frame: Any, losses: DecodeErrors) -> float:
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
