"""Which way the frames of a file are read: the cheapest that keeps the promise and can be trusted.

    key frames    they are near enough to every wanted time; nothing else is decoded
    parts         from key frames on to the first picture that will do, then on to the next
    read through  the same where that is nearly all, without pictures that no other refers to
    decord        exact frames of codecs that are not planned for, where its index can be trusted
    every frame   anything amiss, or a kind of file whose packets cannot be planned with

decord's exact path was measured beside the plans (`benchmarks/decoding.py`): it wins nowhere, since
it decodes the pictures that no other refers to as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_prep.clip import FloatArray, UInt8Array
from data_prep.frames.decord_frames import DecordFrames, DecordMismatchError
from data_prep.frames.frame_plan import plan_frames
from data_prep.frames.framing import scaled_size
from data_prep.frames.planned_frames import PlanBrokenError, PlannedFrames
from data_prep.frames.pyav_frames import PyavFrames
from data_prep.frames.webp_frames import WebpFrames
from data_prep.losses import Losses
from data_prep.media.declared import MP4
from data_prep.media.probe import MediaInfo
from data_prep.media.timeline import Timeline
from data_prep.settings import ClipSettings, DecodeSettings

UNFIT = (PlanBrokenError, DecordMismatchError)
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
    losses: Losses

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


def frame_reader(
    path: str, info: MediaInfo, timeline: Timeline, times: FrameTimes, settings: DecodeSettings
) -> FrameReader | None:
    """The reader for a clip's frames, to be asked for in order; None where none are wanted."""
    if not (timeline.has_picture and settings.want_picture):
        return None
    size_px = target_px(info, settings.clip)
    if info.container == WebpFrames.container:
        return WebpFrames(path, size_px, timeline.frame_times_s)
    if not _is_whole(info, timeline):
        return read_every_frame(path, info, timeline, settings)
    way = settings.way
    if way in ("auto", "plan") and _can_be_planned(info, timeline):
        return _planned(path, info, timeline, times, settings)
    if way in ("auto", "decord") and not info.mirrored and _decord_is_fit(info, timeline, settings):
        with suppress(DecordMismatchError):  # another way reads it; the report names which one did
            return DecordFrames(path, size_px, timeline.frame_times_s)
    return read_every_frame(path, info, timeline, settings)


def _can_be_planned(info: MediaInfo, timeline: Timeline) -> bool:
    coded = timeline.coded
    return coded is not None and coded.is_sound and info.video_codec in _PLANNED_CODECS


def _planned(
    path: str, info: MediaInfo, timeline: Timeline, times: FrameTimes, settings: DecodeSettings
) -> PlannedFrames:
    assert timeline.coded is not None
    assert info.width_px is not None
    assert info.height_px is not None
    clip, area_px = settings.clip, info.width_px * info.height_px
    plan = plan_frames(
        timeline.coded, times.wanted_s, times.asked_s, clip.tolerance_s, area_px, times.bounds_s
    )
    return PlannedFrames(
        path,
        target_px(info, clip),
        info.rotation_deg,
        timeline.coded,
        plan,
        clip.loop_filter,
        info.mirrored,
    )


def read_every_frame(
    path: str, info: MediaInfo, timeline: Timeline, settings: DecodeSettings
) -> PyavFrames:
    """The way that needs nothing to be as the packets say."""
    size_px = target_px(info, settings.clip)
    times_s = timeline.frame_times_s if timeline.times_in_order else None
    return PyavFrames(
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
        and timeline.picture is not None
        and not timeline.picture.broken
        and abs(float(timeline.frame_times_s[0]) - info.zero_s) < 1e-3
    )


def _decord_is_fit(info: MediaInfo, timeline: Timeline, settings: DecodeSettings) -> bool:
    picture = timeline.picture
    assert picture is not None
    return (
        settings.clip.tolerance_s == 0
        and info.container in _DECORD_CONTAINERS
        and not timeline.has_hidden_frames
        and not timeline.times_in_order
        and timeline.consistent
        and picture.end_s - picture.start_s <= _DECORD_LONGEST_S
    )
