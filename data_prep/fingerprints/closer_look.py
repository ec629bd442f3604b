"""The first seconds of a video as small grey frames at an even pace, for `moving`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.clip import UInt8Array
from data_prep.fingerprints.moving import LOOK_SIDE_PX, LOOK_STEP_S
from data_prep.frames.framing import upright
from data_prep.losses import Losses
from data_prep.media.pyav_media import Scaler, decoded, frame_time_s, open_media, seek, video_stream
from data_prep.status import NoUsableStreamError

LOOK_MAX_S = 10.0
_EPSILON_S = 1e-3


@dataclass(frozen=True)
class Look:
    """frames uint8 [T, side, side], one every LOOK_STEP_S, each held until the next one."""

    frames: UInt8Array


def look_closer(path: str, start_s: float | None, rotation_deg: int) -> Look:
    """At most LOOK_MAX_S of a video, from a time counted from its first frame on.

    Pictures that no other refers to are left out, and so is the smoothing of block edges: this is
    for comparing, not for looking at. Raises MediaError.
    """
    scaler = Scaler()
    frames: list[UInt8Array] = []
    with open_media(path, reordered=True) as container:
        for time_s, frame in _shown(container, start_s or 0.0):
            due = int((time_s + _EPSILON_S) / LOOK_STEP_S) + 1 - len(frames)
            if due <= 0 and frames:
                continue
            grey = scaler.grey(frame, LOOK_SIDE_PX)
            if grey is not None:
                frames += [upright(grey, rotation_deg)] * max(1, due)
    if not frames:
        raise NoUsableStreamError("no picture can be decoded")
    return Look(np.stack(frames[: int(LOOK_MAX_S / LOOK_STEP_S)]))


def _shown(container: Any, start_s: float) -> Iterator[tuple[float, Any]]:
    """(time s from the start, frame) of LOOK_MAX_S of the video."""
    stream = video_stream(container)
    if stream is None:
        return
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.skip_frame = "NONREF"
    decoder.options = {"skip_loop_filter": "all"}
    began_s = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if start_s:
        seek(container, stream, began_s + start_s)
    for frame in decoded(container, stream, Losses()):
        time_s = frame_time_s(frame)
        if time_s is None or time_s - began_s < start_s - _EPSILON_S:
            continue
        if time_s - began_s - start_s >= LOOK_MAX_S:
            return
        yield time_s - began_s - start_s, frame
