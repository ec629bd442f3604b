"""Clips and their chunks of time steps, as passed between decoding, storage and encoding.

Also the 16-bit quantization of waveforms, and the check that a segment lies within its file, which
scanning and decoding share.
"""

from __future__ import annotations

import math
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

PCM16_SCALE = 1 / 32768  # int16 to full scale ±1, the scale of nearly all recordings
_QUIET_EXPONENT = -5  # peaks below 2⁻⁵ (−30 dBFS): 16 bits up to full scale are too coarse


def quantize(samples: Samples, fixed_scale: bool = False) -> tuple[Int16Array, float]:
    """Quantize samples float32 [S] → (int16 [S], scale) with samples ≈ int16 · scale.

    The scale is a power of two: 1/32768, larger if samples exceed ±1 (32-bit float recordings),
    smaller if all of them are quiet. fixed_scale: always 1/32768, so that no sample depends on
    later ones; samples beyond ±1 are clipped.
    """
    exponent = _exponent(float(samples.max(initial=0.0)), float(-samples.min(initial=0.0)))
    if fixed_scale or _QUIET_EXPONENT < exponent < 0:
        exponent = 0  # 16-bit files of ordinary level keep their own integers
    scale = float(2.0 ** (exponent - 15))  # a power of two: division and product are exact
    rounded = np.rint(samples.astype(np.float64) / scale).clip(-32768, 32767)
    return rounded.astype(np.int16), scale


def _exponent(highest: float, lowest: float) -> int:
    """The least n with −2ⁿ ≤ samples < 2ⁿ, as in two's complement; 0 for silence.

    highest: the maximum; lowest: the minimum times −1.
    """
    fraction, low_exponent = np.frexp(lowest)
    bounds = [int(np.frexp(highest)[1])] if highest > 0 else []
    bounds += [int(low_exponent) - int(fraction == 0.5)] if lowest > 0 else []  # −2ⁿ itself fits
    return max(bounds, default=0)


def dequantize(waveform: Int16Array, scale: float) -> Samples:
    """The inverse of `quantize`: float32 [S], exactly int16 · scale."""
    return waveform.astype(np.float32) * np.float32(scale)


@dataclass(frozen=True)
class ClipSource:
    """A file, or its segment start_s ≤ time < end_s. Time zero is the first video frame."""

    id: str
    path: str
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    """As known before decoding; used for planning only."""


@dataclass(frozen=True)
class ClipChunk:
    """At most STEPS_PER_CHUNK consecutive steps of a clip.

    frames          uint8 [T, C, H, W] RGB; undefined for steps without a frame
    frame_times_s   float64 [T], presentation time of each frame, NaN without a frame
    waveform        int16 [T · samples per step] mono; silence where there is no audio
    waveform_scale  amplitude of one unit of the waveform, see `quantize`
    video_mask      bool [T], true where the step has a frame
    audio_mask      bool [T], true where the step has audio
    jpegs           JPEG files of the frames, b"" without a frame; empty unless requested

    Raises ValueError for other shapes.
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
            # the rate is not known here, but every step has the same number of samples
            raise ValueError(f"waveform [S] must divide by {steps}, got {self.waveform.shape}")
        if self.jpegs and len(self.jpegs) != steps:
            raise ValueError(f"{len(self.jpegs)} JPEGs for {steps} steps")

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])

    @property
    def samples(self) -> Samples:
        """The waveform as float32 [T · samples per step]; full scale is ±1."""
        return dequantize(self.waveform, self.waveform_scale)

    def release(self) -> None:
        """Declare the frames unused; a subclass in shared memory lets them be overwritten."""


@dataclass(frozen=True)
class DecodeSummary:
    """Result of decoding one clip.

    With status PARTIAL, `reason` says what is missing; with OK, it may hold remarks on an unusual
    file that was read completely.
    """

    status: Status
    reason: str
    duration_s: float
    n_steps: int
    has_video: bool
    has_audio: bool
    decode_strategy: str
    """Strategy by which the frames were read; "" without video."""
    fallback_reason: str = ""
    """Why every frame had to be decoded although the packet index allowed fewer, or ""."""
    limit: Limit | None = None
    """The limit that truncated the clip."""


SHORTEST_S = 0.02  # shorter than a frame of video or of audio
_MISSING_END_S = 1.0  # tolerated silently: containers round durations, and people round up


def check_segment(start_s: float | None, end_s: float | None, file_s: float) -> str:
    """Message about the part of a segment that is after the end of the file at file_s, or "".

    Raises MediaError if less than SHORTEST_S of it lies within the file.
    """
    begin_s = start_s or 0.0
    if begin_s >= file_s:
        raise UnreadableError(f"the part starts at {begin_s:g} s, the file ends at {file_s:g} s")
    is_part = start_s is not None or end_s is not None
    length_s = min(math.inf if end_s is None else end_s, file_s) - begin_s
    if is_part and length_s < SHORTEST_S:
        raise NoUsableStreamError(
            f"the part is {length_s:.3f} s long, at least {SHORTEST_S:g} s are needed"
        )
    if end_s is not None and end_s > file_s + _MISSING_END_S:
        return f"the part ends at {end_s:g} s, the file at {file_s:.1f} s"
    return ""
