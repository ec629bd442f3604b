"""What a closer look at a video gives; apart from its decoding, and from what is made of it.

The first seconds of a video as small grey frames at an even pace, for `moving`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from data_prep.clip import UInt8Array
from data_prep.decode_errors import DecodeErrors
from data_prep.media.pyav_media import Scaler, decoded, frame_time_s, open_media, seek, video_stream
from data_prep.status import NoUsableStreamError
from data_prep.video.resize import rotate

MOTION_SIDE_PX = 64
MOTION_STEP_S = 0.2
MOTION_MAX_S = 10.0


@dataclass(frozen=True)
class MotionFrames:
    """frames uint8 [T, side, side], one every LOOK_STEP_S, each held until the next one."""

    frames: UInt8Array


_EPSILON_S = 1e-3


def read_motion_frames(
    path: str, start_s: float | None, end_s: float | None, rotation_deg: int
) -> MotionFrames:
    """At most LOOK_MAX_S of a video or a part of it, times counted from its first frame on.

    Pictures that no other refers to are left out, and so is the smoothing of block edges: this is
    for comparing, not for looking at. Raises MediaError.
    """
    begin_s = start_s or 0.0
    length_s = MOTION_MAX_S if end_s is None else min(MOTION_MAX_S, end_s - begin_s)
    scaler = Scaler()
    frames: list[UInt8Array] = []
    with open_media(path, reordered=True) as container:
        for frame, until_s in _held(_shown(container, begin_s, begin_s + length_s), length_s):
            due = _steps_before(until_s) - len(frames)
            grey = scaler.grey(frame, MOTION_SIDE_PX) if due > 0 else None
            if grey is not None:
                frames += [rotate(grey, rotation_deg)] * due
    if not frames:
        raise NoUsableStreamError("no picture can be decoded")
    return MotionFrames(np.stack(frames))


def _steps_before(time_s: float) -> int:
    """How many of the moments 0, LOOK_STEP_S, … lie before a time."""
    return ceil((time_s - _EPSILON_S) / MOTION_STEP_S)


def _held(shown: Iterable[tuple[float, Any]], length_s: float) -> Iterator[tuple[Any, float]]:
    """(frame, until when s it is shown); the last one as long as the one before it."""
    before: tuple[float, Any] | None = None
    lasts_s = MOTION_STEP_S
    for time_s, frame in shown:
        if before is not None and time_s > before[0]:
            lasts_s = time_s - before[0]
            yield before[1], min(length_s, time_s)
        before = time_s, frame
    if before is not None:
        yield before[1], min(length_s, before[0] + lasts_s)


def _shown(container: Any, begin_s: float, end_s: float) -> Iterator[tuple[float, Any]]:
    """(time s from begin_s on, frame) of a part of the video, with the frames about it."""
    stream = video_stream(container)
    if stream is None:
        return
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.skip_frame = "NONREF"
    decoder.options = {"skip_loop_filter": "all"}
    began_s = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if begin_s:
        seek(container, stream, began_s + begin_s)
    for frame in decoded(container, stream, DecodeErrors()):
        time_s = frame_time_s(frame)
        if time_s is None:
            continue
        yield time_s - began_s - begin_s, frame
        if time_s - began_s >= end_s:
            return
