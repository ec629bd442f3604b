"""Choose how the frames of a file are read: the cheapest strategy that is safe.

    key frames    keyframes are within the tolerance of every target time; nothing else is decoded
    parts         decode from keyframes to the first frame within the tolerance, and no further
    read through  the same, but nearly all is decoded except unwanted non-reference frames
    decord        exact frames of codecs that cannot be planned, if decord's index is reliable
    every frame   the fallback for damaged files and those whose packets cannot be planned with

decord's exact mode was measured against the plans (`benchmarks/decoding.py`) and is never faster,
since it also decodes the non-reference frames.

`SequentialReader` is the "every frame" strategy: it decodes all frames in turn and trusts only
their own timestamps. It is used for files with damage, frames without timestamps, or codecs whose
keyframes are unreliable.
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
from data_prep.media.demuxer import Demuxer
from data_prep.media.packet_times import PacketTimes
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
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.decode_plan import PlanMismatchError, PlannedReader, plan_frames
from data_prep.video.decord_reader import DecordMismatchError, DecordReader
from data_prep.video.resize import rotate, scaled_size
from data_prep.video.webp_reader import WebpReader

FALLBACK_ERRORS = (PlanMismatchError, DecordMismatchError)
"""Raised by readers if a file does not match its packets: use `open_sequential_reader` instead."""

# Codecs whose keyframes can be decoded without any earlier frame.
_PLANNED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "libvpx", "libvpx-vp9", "mpeg4", "mpeg1video",
     "mpeg2video", "mjpeg", "prores", "dnxhd", "h263", "theora"}
)  # fmt: skip

# Containers that decord indexes correctly (it drops the first frames of transport streams and has
# no timestamps for AVI with B-frames).
_DECORD_CONTAINERS = frozenset({MP4, "matroska,webm"})

# decord reads ahead without limit: a worker grew by 150 MB per minute of a half-hour file.
_DECORD_LONGEST_S = 120.0


class FrameReader(Protocol):
    """Interface of all readers: the frames displayed at given times."""

    name: str
    errors: DecodeErrors

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For the next T steps: (position in T, frame time s, frame uint8 [H, W, C])."""

    def drain(self, end_s: float) -> float | None: ...


@dataclass(frozen=True)
class FrameTimes:
    """Times at which a clip needs frames, in seconds on the file's clock.

    target_s  [T] the middle of each step
    asked_s   [T] the same, clamped to the video; NaN where the video does not overlap the step
    """

    target_s: FloatArray
    asked_s: FloatArray
    bounds_s: tuple[float, float] = (-np.inf, np.inf)
    """(start, end) of the labelled segment."""


def open_frame_reader(
    path: str,
    info: MediaInfo,
    packet_times: PacketTimes,
    times: FrameTimes,
    settings: DecodeSettings,
    demuxer: Demuxer | None = None,
) -> FrameReader | None:
    """The reader for a clip's frames, to be read in order; None if no frames are wanted.

    demuxer: shared with the reader of the audio; used if the file is read from its start by a plan.
    """
    if not (packet_times.has_video and settings.want_video):
        return None
    size_px = target_px(info, settings.clip)
    if info.container == WebpReader.container:
        return WebpReader(path, size_px, packet_times.frame_times_s)
    if not _is_whole(info, packet_times):
        return open_sequential_reader(path, info, packet_times, settings)
    mode = settings.strategy
    if mode in ("auto", "plan") and _can_be_planned(info, packet_times):
        return _open_planned_reader(path, info, packet_times, times, settings, demuxer)
    # decord applies the rotation of a display matrix, but not its flip
    if (
        mode in ("auto", "decord")
        and not info.mirrored
        and _can_use_decord(info, packet_times, settings)
    ):
        with suppress(DecordMismatchError):  # fall back; the summary names the reader that was used
            return DecordReader(path, size_px, packet_times.frame_times_s)
    return open_sequential_reader(path, info, packet_times, settings)


def _can_be_planned(info: MediaInfo, packet_times: PacketTimes) -> bool:
    coded = packet_times.packet_index
    return coded is not None and coded.is_reliable and info.video_codec in _PLANNED_CODECS


def _open_planned_reader(
    path: str,
    info: MediaInfo,
    packet_times: PacketTimes,
    times: FrameTimes,
    settings: DecodeSettings,
    demuxer: Demuxer | None,
) -> PlannedReader:
    assert packet_times.packet_index is not None
    assert info.width_px is not None
    assert info.height_px is not None
    clip, area_px = settings.clip, info.width_px * info.height_px
    plan = plan_frames(
        packet_times.packet_index,
        times.target_s,
        times.asked_s,
        clip.tolerance_s,
        area_px,
        times.bounds_s,
    )
    return PlannedReader(
        path,
        target_px(info, clip),
        info.rotation_deg,
        packet_times.packet_index,
        plan,
        clip.loop_filter,
        info.mirrored,
        demuxer,
    )


def open_sequential_reader(
    path: str, info: MediaInfo, packet_times: PacketTimes, settings: DecodeSettings
) -> SequentialReader:
    """The fallback reader, which does not rely on the packet index."""
    size_px = target_px(info, settings.clip)
    times_s = packet_times.frame_times_s if packet_times.times_in_order else None
    return SequentialReader(
        path, size_px, info.rotation_deg, info.mirrored, times_s, packet_times.decode_times_fit
    )


def target_px(info: MediaInfo, clip: ClipSettings) -> tuple[int, int]:
    """(width, height) that decoded frames are scaled to, before they are fitted into the square."""
    return scaled_size(info.display_size_px, side_px(clip), clip.frame_fit)


def side_px(clip: ClipSettings) -> int:
    """Side of the square frames in px. Raises ValueError before the encoder's size is known."""
    if clip.frame_size_px is None:
        raise ValueError("clip.frame_size_px must be resolved to the encoder's size first")
    return clip.frame_size_px


def _is_whole(info: MediaInfo, packet_times: PacketTimes) -> bool:
    """Whether there is no known problem and the first packet's frame is the first one decoded."""
    return (
        not packet_times.problem
        and packet_times.video is not None
        and not packet_times.video.broken
        # a recording cut out of a stream may start with frames that cannot be decoded
        and abs(float(packet_times.frame_times_s[0]) - info.zero_s) < 1e-3
    )


def _can_use_decord(info: MediaInfo, packet_times: PacketTimes, settings: DecodeSettings) -> bool:
    video = packet_times.video
    assert video is not None
    return (
        settings.clip.tolerance_s == 0
        and info.container in _DECORD_CONTAINERS
        and not packet_times.has_hidden_frames
        and not packet_times.times_in_order
        and packet_times.consistent
        and video.end_s - video.start_s <= _DECORD_LONGEST_S
    )


@dataclass
class SequentialReader:
    """Reads a video forward and yields the frame displayed at each asked time.

    Every frame's own timestamp decides. Frames are scaled to `size_px` (width, height, upright).
    """

    path: str
    size_px: tuple[int, int]
    rotation_deg: int = 0
    mirrored: bool = False
    times_in_order_s: FloatArray | None = None
    """[N] if packet timestamps are unreliable: frame n is displayed at the n-th of these."""
    decode_times_fit: bool = False
    """With `times_in_order_s`: decode times are right, up to a constant delay."""
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
            # a frame held over several steps is scaled only once
            if cached is None or cached[0] != time_s:
                cached = (time_s, self._to_array(frame))
            if cached[1] is not None:
                yield int(position), time_s, cached[1]

    def drain(self, end_s: float) -> float | None:
        """Read on up to a time; the time of the last good frame before it, or None."""
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
        # frame times counted from the start of the file do not survive a seek
        can_seek = time_s > 20.0 and self.times_in_order_s is None
        for seek_s in (time_s - 1.0, None) if can_seek else (None,):
            self._frames = self._decode(seek_s)
            self._shown = next(self._frames, None)
            if self._shown is None or self._shown[0] > time_s:
                continue  # the seek failed or landed too late: read from the start
            break
        self._next = next(self._frames, None)

    def _decode(self, seek_s: float | None) -> Iterator[tuple[float, Any]]:
        """(time s, frame) in presentation order."""
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
                    continue  # without a usable timestamp it cannot be placed
                last_s = time_s
                yield time_s, frame

    def _to_array(self, frame: Any) -> UInt8Array | None:
        width, height = self.size_px
        if self.rotation_deg % 180:  # scaled as coded, rotated afterwards
            width, height = height, width
        picture = self._scaler.rgb(frame, width, height)
        if picture is None:
            self.errors.record_error("damaged picture data")
            return None
        return rotate(picture, self.rotation_deg, self.mirrored)


class _FrameOrder:
    """Assigns times to frames whose own timestamps are unreliable, by their output order."""

    def __init__(self, times_s: FloatArray, decode_times_fit: bool) -> None:
        self._times_s, self._decode_times_fit = times_s, decode_times_fit
        self._frame_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else 0.0
        self._index = -1
        self._n_errors = 0
        self._first_s: float | None = None
        self._last_s = float("-inf")

    def next_s(self, frame: Any, losses: DecodeErrors) -> float:
        """Time in s of the next decoded frame, never less than that of the frame before."""
        n_new = 1 + losses.total - self._n_errors  # every lost frame takes up a time too
        self._index, self._n_errors = self._index + n_new, losses.total
        decode_s = decode_time_s(frame) if self._decode_times_fit else None
        index = min(self._index, self._times_s.size - 1)
        time_s = float(self._times_s[index])
        if self._index == n_new - 1:
            self._first_s = decode_s
        elif self._first_s is not None:
            # DTS of the packet that made the decoder output it: late by a constant delay
            time_s = self._last_s + n_new * self._frame_s
            if decode_s is not None:
                time_s = float(self._times_s[0]) + decode_s - self._first_s
        self._last_s = max(time_s, self._last_s)
        return self._last_s
