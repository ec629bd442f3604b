"""Messages between a decoding worker and its parent: length-prefixed pickles over pipes.

Only framewave's own parent and child processes use it; nothing read from a file is unpickled.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import IO

from data_prep.clip import (
    BoolArray,
    ClipChunk,
    ClipSource,
    DecodeSummary,
    FloatArray,
    Int16Array,
)
from data_prep.fingerprints.motion_frames import MotionFrames
from data_prep.media.probe import MediaInfo
from data_prep.settings import RAW_FRAME_RATE_HZ, DecodeSettings, LimitSettings
from data_prep.status import Limit, Status

_HEADER = struct.Struct("<Q")


@dataclass(frozen=True)
class Failure:
    """A job that failed: the status of the file and the reason."""

    status: Status
    reason: str
    limit: Limit | None = None
    """The limit that the file exceeds, if it was refused."""


@dataclass(frozen=True)
class DecodeJob:
    """One clip to decode."""

    source: ClipSource
    settings: DecodeSettings

    @property
    def limits(self) -> LimitSettings:
        return self.settings.limits


@dataclass(frozen=True)
class ProbeJob:
    """One file to probe."""

    path: str
    limits: LimitSettings
    raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ
    nyquist_hz: float | None = None
    """Highest frequency that clips keep, to measure the audio energy above it; None to skip."""


@dataclass(frozen=True)
class MotionJob:
    """One video or segment to read motion frames from, for the leak audit."""

    path: str
    start_s: float | None
    end_s: float | None
    rotation_deg: int
    limits: LimitSettings


@dataclass(frozen=True)
class Heartbeat:
    """Sent about once a second while a job makes progress.

    expected_duration_s: length in s of the recording to be decoded, 0 until it is known.
    """

    expected_duration_s: float


@dataclass(frozen=True)
class SharedChunk:
    """A ClipChunk whose frames are in shared memory, see `data_prep.video.shared_frames`."""

    slot: int
    n_steps: int
    side_px: int
    frame_times_s: FloatArray
    waveform: Int16Array
    video_mask: BoolArray
    audio_mask: BoolArray
    jpegs: tuple[bytes, ...]
    index: int
    waveform_scale: float


# With shared memory a SharedChunk crosses the pipe in place of each ClipChunk.
Job = DecodeJob | ProbeJob | MotionJob
Message = ClipChunk | DecodeSummary | MediaInfo | MotionFrames | Failure
"""Answers to a job: DecodeJob yields ClipChunks in order and then a DecodeSummary, ProbeJob a
MediaInfo, MotionJob MotionFrames; any of them may end in a Failure instead.
"""


def write_message(stream: IO[bytes], message: object) -> None:
    """Write one message. Raises BrokenPipeError when the other side is gone."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)))
    stream.write(data)
    stream.flush()  # the reader waits for whole messages


def read_message(stream: IO[bytes]) -> object:
    """Read the next message. Raises EOFError when the other side is gone."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    data = stream.read(length)
    if len(data) < length:  # the writer died in the middle of a message
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own child or parent process
