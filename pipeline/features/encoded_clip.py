"""Clips whose frames and sound became features, in chunks as they were decoded."""

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
    """A ClipChunk whose frames became features: float16 [T, D], zero without picture."""

    index: int
    features: Float16Array
    frame_times_s: FloatArray
    waveform: Int16Array
    video_mask: BoolArray
    audio_mask: BoolArray
    jpegs: tuple[bytes, ...]
    waveform_scale: float = PCM16_SCALE
    n_pending: int = 0
    """Vectors that are not there yet."""
    mirrored: Float16Array | None = None
    """Features of the frames mirrored left to right, where they were asked for."""
    spectrogram_features: Float16Array | None = None
    """[T · windows per step, D]: features of windows of the sound, where they were asked for."""

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])

    @property
    def samples(self) -> Samples:
        """float32 [T · samples per step]: the waveform, full scale being ±1."""
        return dequantize(self.waveform, self.waveform_scale)

    @property
    def size_bytes(self) -> int:
        more = sum(
            part.nbytes for part in (self.mirrored, self.spectrogram_features) if part is not None
        )
        return self.features.nbytes + more + self.waveform.nbytes + sum(map(len, self.jpegs))


EncodedItem = tuple[ClipSource, EncodedChunk | ClipOutcome]
"""A chunk of a clip, or how the clip ended. A clip that failed may have given chunks before."""


@dataclass
class EncodedClip:
    """One clip, whole; without chunks where it failed."""

    source: ClipSource
    outcome: ClipOutcome
    chunks: list[EncodedChunk] = field(default_factory=list)
