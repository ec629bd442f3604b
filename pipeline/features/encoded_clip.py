"""Encoded clips: features in place of frames, in the chunks in which they were decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from data_prep.clip import (
    PCM16_SCALE,
    BoolArray,
    ClipSource,
    FloatArray,
    Int16Array,
    Samples,
    dequantize,
)
from data_prep.dataset.clip_store import ClipOutcome
from pipeline.features.batch_encoder import Float16Array


@dataclass
class EncodedChunk:
    """A ClipChunk with features float16 [T, D] in place of frames; zero for steps without one."""

    index: int
    features: Float16Array
    frame_times_s: FloatArray
    waveform: Int16Array
    video_mask: BoolArray
    audio_mask: BoolArray
    jpegs: tuple[bytes, ...]
    waveform_scale: float = PCM16_SCALE
    n_pending: int = 0  # feature vectors that are still being encoded
    mirrored: Float16Array | None = None
    """Features of the horizontally flipped frames, if requested: [T, D]."""
    spectrogram_features: Float16Array | None = None
    """Features of the audio windows, if requested: [T · windows per step, D]."""

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])

    @property
    def samples(self) -> Samples:
        """The waveform as float32 [T · samples per step]; full scale is ±1."""
        return dequantize(self.waveform, self.waveform_scale)

    @property
    def size_bytes(self) -> int:
        """Size in memory; small fields are not counted."""
        optional = sum(
            part.nbytes for part in (self.mirrored, self.spectrogram_features) if part is not None
        )
        return self.features.nbytes + optional + self.waveform.nbytes + sum(map(len, self.jpegs))


EncodedItem = tuple[ClipSource, EncodedChunk | ClipOutcome]
"""A chunk of a clip, or its outcome. A clip that fails may have chunks before."""


@dataclass
class EncodedClip:
    """A whole clip; without chunks if it failed."""

    source: ClipSource
    outcome: ClipOutcome
    chunks: list[EncodedChunk] = field(default_factory=list)
