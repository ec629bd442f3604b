"""What passes between decoding, storing and encoding: a clip in chunks of time steps.

Whether a labelled part lies in its file: one rule for scan and for decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.settings import STEPS_PER_CHUNK
from data_prep.status import Limit, NoUsableStreamError, Status, UnreadableError

UInt8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

PCM16_SCALE = 1 / 32768
"""Of a waveform whose 16 bits reach full scale, as nearly all do."""
_QUIETEST_EXPONENT = -5  # below 2⁻⁵ (−30 dBFS), 16 bits up to full scale are too coarse


def quantize(samples: Samples) -> tuple[Int16Array, float]:
    """(int16 [S], scale) with samples ≈ int16 · scale, to 16 bits of the loudest sample.

    The scale is a power of two: 1/32768, larger where samples lie beyond ±1 (32-bit float
    recordings), smaller where all of them are quiet.
    """
    exponent = _exponent(float(samples.max(initial=0.0)), float(-samples.min(initial=0.0)))
    if _QUIETEST_EXPONENT < exponent < 0:
        exponent = 0
    scale = float(2.0 ** (exponent - 15))
    rounded = np.rint(samples.astype(np.float64) / scale).clip(-32768, 32767)
    return rounded.astype(np.int16), scale


def _exponent(highest: float, lowest: float) -> int:
    """The least n with samples below 2ⁿ and not below −2ⁿ, as int16 has it; 0 for silence."""
    fraction, below = np.frexp(lowest)
    bounds = [int(np.frexp(highest)[1])] if highest > 0 else []
    bounds += [int(below) - int(fraction == 0.5)] if lowest > 0 else []
    return max(bounds, default=0)


def dequantize(waveform: Int16Array, scale: float) -> Samples:
    """float32 [S], exactly int16 · scale."""
    return waveform.astype(np.float32) * np.float32(scale)


@dataclass(frozen=True)
class ClipSource:
    """One file, or its segment start_s ≤ time < end_s, counted from the picture's first frame."""

    id: str
    path: str
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    """As far as known beforehand; used for planning only."""


@dataclass(frozen=True)
class ClipChunk:
    """At most STEPS_PER_CHUNK consecutive steps of a clip.

    frames         uint8 [T, C, H, W] RGB; rows of steps without picture hold no data
    frame_times_s  float64 [T], true time of each frame from time zero, NaN without picture
    waveform       int16 [T · samples per step] mono; silence where there is no sound
    waveform_scale what a waveform's unit is worth, see `quantize`
    video_mask    bool [T]
    audio_mask      bool [T]
    jpegs          JPEG files of the frames, b"" without picture; empty unless asked for
    """

    index: int
    frames: UInt8Array
    frame_times_s: FloatArray
    waveform: Int16Array
    video_mask: BoolArray
    audio_mask: BoolArray
    jpegs: tuple[bytes, ...] = ()
    waveform_scale: float = PCM16_SCALE

    def __post_init__(self) -> None:
        steps = self.video_mask.shape[0]
        if not 1 <= steps <= STEPS_PER_CHUNK:
            raise ValueError(f"a chunk has 1 to {STEPS_PER_CHUNK} steps, got {steps}")
        if self.frames.ndim != 4 or self.frames.shape[:2] != (steps, 3):
            raise ValueError(f"frames must be [{steps}, 3, H, W], got {self.frames.shape}")
        for name in ("frame_times_s", "audio_mask"):
            if getattr(self, name).shape != (steps,):
                raise ValueError(f"{name} must be [{steps}], got {getattr(self, name).shape}")
        if self.waveform.ndim != 1 or self.waveform.shape[0] % steps:
            raise ValueError(f"waveform [S] must divide by {steps}, got {self.waveform.shape}")
        if self.jpegs and len(self.jpegs) != steps:
            raise ValueError(f"{len(self.jpegs)} JPEGs for {steps} steps")

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])

    @property
    def samples(self) -> Samples:
        """float32 [T · samples per step]: the waveform, full scale being ±1."""
        return dequantize(self.waveform, self.waveform_scale)

    def release(self) -> None:
        """The frames are not needed any more; where they were lent, they may be overwritten."""


@dataclass(frozen=True)
class DecodeSummary:
    """How decoding of one clip ended; `status` PARTIAL names in `reason` what was left out.

    With OK, `reason` may hold remarks: how an unusual file was read whole.
    """

    status: Status
    reason: str
    duration_s: float
    n_steps: int
    has_video: bool
    has_audio: bool
    decode_strategy: str
    """How the frames were read, see `frame_source`; "" without picture."""
    fallback_reason: str = ""
    """Why every frame had to be read though the packets promised less, or ""."""
    limit: Limit | None = None
    """The limit that cut it."""


SEGMENT_AFTER_END = "the segment starts at"
SHORTEST_S = 0.02  # shorter than a frame of picture or of sound
_MISSING_END_S = 1.0  # unremarked: containers round, and people round up


def check_segment(start_s: float | None, end_s: float | None, file_s: float) -> str:
    """What of a part is missing in a file of this length, in words, or "".

    Raises MediaError where there is nothing of it, or as good as nothing.
    """
    begin_s = start_s or 0.0
    if begin_s >= file_s:
        raise UnreadableError(f"{SEGMENT_AFTER_END} {begin_s:g} s, the file ends at {file_s:g} s")
    if end_s is not None and min(end_s, file_s) - begin_s < SHORTEST_S:
        raise NoUsableStreamError(
            f"the segment is {min(end_s, file_s) - begin_s:.3f} s long, at least "
            f"{SHORTEST_S:g} s are needed"
        )
    if end_s is not None and end_s > file_s + _MISSING_END_S:
        return f"the segment ends at {end_s:g} s, the file at {file_s:.1f} s"
    return ""
