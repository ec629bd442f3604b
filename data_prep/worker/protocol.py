"""What a decoding process and its parent say to each other: length-prefixed pickles over pipes.

Only our own parent and child processes ever speak it; nothing read from a file is unpickled.
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
    """A clip that gives nothing: its status and the reason."""

    status: Status
    reason: str
    limit: Limit | None = None
    """The limit that refused it."""


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
    """One file to look into."""

    path: str
    limits: LimitSettings
    raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ
    kept_hz: float | None = None
    """The highest frequency that clips keep, where it is asked how much sound lies above."""


@dataclass(frozen=True)
class MotionJob:
    """One video, or a part of it, to look at closely, as the leak audit does."""

    path: str
    start_s: float | None
    end_s: float | None
    rotation_deg: int
    limits: LimitSettings


@dataclass(frozen=True)
class Heartbeat:
    """Sent now and then while nothing else is; planned_s: length of the clip once it is known."""

    expected_duration_s: float


@dataclass(frozen=True)
class SharedChunk:
    """A ClipChunk whose frames lie in shared memory; see `data_prep.video.shared_frames`."""

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


Job = DecodeJob | ProbeJob | MotionJob
Message = ClipChunk | DecodeSummary | MediaInfo | MotionFrames | Failure
"""What a job answers: decoding gives chunks in order and then a report, the others what they found;
or either a failure. (Chunks of decoding processes cross the pipe as SlotChunk.)"""


def write_message(stream: IO[bytes], message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> object:
    """The next message. Raises EOFError when the other side is gone."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own child or parent process
