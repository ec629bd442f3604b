"""The first 10 s of a video as small grey frames at a constant rate, for `motion_signature`."""

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
    """frames uint8 [T, side, side], one per MOTION_STEP_S."""

    frames: UInt8Array


_EPSILON_S = 1e-3  # absorbs timestamps rounded to 1 ms


def read_motion_frames(
    path: str, start_s: float | None, end_s: float | None, rotation_deg: int
) -> MotionFrames:
    """At most MOTION_MAX_S of a video or segment, whose times count from the first frame.

    Non-reference frames and the deblocking filter are skipped, as the frames are only compared.
    Raises MediaError.
    """
    begin_s = start_s or 0.0
    length_s = MOTION_MAX_S if end_s is None else min(MOTION_MAX_S, end_s - begin_s)
    scaler = Scaler()
    frames: list[UInt8Array] = []
    with open_media(path, reordered=True) as container:  # frames are needed in display order
        for frame, until_s in _with_ends(_timed(container, begin_s, begin_s + length_s), length_s):
            n_repeats = _steps_before(until_s) - len(frames)
            grey = scaler.grey(frame, MOTION_SIDE_PX) if n_repeats > 0 else None
            if grey is not None:
                frames += [rotate(grey, rotation_deg)] * n_repeats
    if not frames:
        raise NoUsableStreamError("no picture can be decoded")
    return MotionFrames(np.stack(frames))


def _steps_before(time_s: float) -> int:
    """How many of the times 0, MOTION_STEP_S, 2 · MOTION_STEP_S, … are before a time."""
    return ceil((time_s - _EPSILON_S) / MOTION_STEP_S)


def _with_ends(timed: Iterable[tuple[float, Any]], length_s: float) -> Iterator[tuple[Any, float]]:
    """(frame, time s until which it is displayed); the last one lasts as long as the one before."""
    previous: tuple[float, Any] | None = None
    frame_s = MOTION_STEP_S
    for time_s, frame in timed:
        if previous is not None and time_s > previous[0]:
            frame_s = time_s - previous[0]
            yield previous[1], min(length_s, time_s)
        previous = time_s, frame
    if previous is not None:
        yield previous[1], min(length_s, previous[0] + frame_s)


def _timed(container: Any, begin_s: float, end_s: float) -> Iterator[tuple[float, Any]]:
    """(time s relative to begin_s, frame) from the keyframe before begin_s to past end_s."""
    stream = video_stream(container)
    if stream is None:
        return
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.skip_frame = "NONREF"
    decoder.options = {"skip_loop_filter": "all"}
    zero_s = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if begin_s:  # decoding starts at the keyframe before the segment
        seek(container, stream, zero_s + begin_s)
    for frame in decoded(container, stream, DecodeErrors()):
        time_s = frame_time_s(frame)
        if time_s is None:
            continue
        yield time_s - zero_s - begin_s, frame  # before a segment, the time is negative
        if time_s - zero_s >= end_s:
            return
