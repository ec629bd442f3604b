"""The streaming engine that prep and classify share: decode workers → frame encoder → clips.

Clips come out in the order they were asked for, failures included. What is in memory at a time is
bounded by the pool's look-ahead, one batch of frames and the clips it belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from data_prep.clip import (
    BoolArray,
    ClipChunk,
    ClipReport,
    ClipSource,
    FloatArray,
    Int16Array,
    UInt8Array,
)
from data_prep.clip_store import Outcome
from data_prep.protocol import DecodeJob, Failure
from data_prep.settings import DecodeSettings
from data_prep.status import Status
from pipeline.decode_pool import DecodePool
from pipeline.encoder import BatchEncoder, Float16Array

_NOT_ENDED = Outcome(Status.CRASHED, "decoding has not ended")


@dataclass(frozen=True)
class EncodedChunk:
    """A ClipChunk whose frames became features: float16 [T, D], zero without picture."""

    index: int
    features: Float16Array
    frame_times_s: FloatArray
    waveform: Int16Array
    has_picture: BoolArray
    has_sound: BoolArray
    jpegs: tuple[bytes, ...]


@dataclass
class EncodedClip:
    """One clip with features, or how it failed (then without chunks)."""

    source: ClipSource
    outcome: Outcome = _NOT_ENDED
    chunks: list[EncodedChunk] = field(default_factory=list)
    waiting: int = 0
    """Frames that still stand in the encoder's batch."""


def encode_clips(
    sources: Iterable[ClipSource],
    settings: DecodeSettings,
    pool: DecodePool,
    encoder: BatchEncoder | None,
    flush_after: Container[str] = frozenset(),
) -> Iterator[EncodedClip]:
    """Decode and encode clips, in order. Without an encoder (sound only) features are [T, 0].

    flush_after: ids after which the batch is not filled up with later clips' frames, so that
    everything up to there is complete.
    """
    batch = _FrameBatch(encoder)
    open_clips: deque[EncodedClip] = deque()
    jobs = (DecodeJob(source, settings) for source in sources)
    current: EncodedClip | None = None
    for job, message in pool.run(jobs):
        assert isinstance(job, DecodeJob)
        if current is None:
            current = EncodedClip(job.source)
            open_clips.append(current)
        if isinstance(message, ClipChunk):
            batch.add(current, message)
        else:
            current.outcome = _outcome(message)
            if not current.outcome.status.usable:
                current.chunks.clear()
            if current.source.id in flush_after:
                batch.flush()
            current = None
        while open_clips and open_clips[0] is not current and not open_clips[0].waiting:
            yield open_clips.popleft()
    batch.flush()
    yield from open_clips


class _FrameBatch:
    """Collects frames of successive clips into full batches and hands the features back."""

    def __init__(self, encoder: BatchEncoder | None) -> None:
        self._encoder = encoder
        self._frames: list[UInt8Array] = []
        self._owners: list[tuple[EncodedClip, Float16Array, int]] = []

    def add(self, clip: EncodedClip, chunk: ClipChunk) -> None:
        width = self._encoder.n_features if self._encoder else 0
        features = np.zeros((chunk.n_steps, width), np.float16)
        clip.chunks.append(
            EncodedChunk(
                chunk.index, features, chunk.frame_times_s, chunk.waveform, chunk.has_picture,
                chunk.has_sound, chunk.jpegs,
            )
        )  # fmt: skip
        if self._encoder is None:
            return
        for t in np.flatnonzero(chunk.has_picture):
            self._frames.append(chunk.frames[t])
            self._owners.append((clip, features, int(t)))
            clip.waiting += 1
            if len(self._frames) == self._encoder.batch:
                self.flush()

    def flush(self) -> None:
        if not self._frames or self._encoder is None:
            return
        encoded = self._encoder.encode(self._frames)
        for (clip, features, t), vector in zip(self._owners, encoded, strict=True):
            features[t] = vector
            clip.waiting -= 1
        self._frames.clear()
        self._owners.clear()


def _outcome(message: object) -> Outcome:
    if isinstance(message, Failure):
        return Outcome(message.status, message.reason)
    assert isinstance(message, ClipReport)
    return Outcome(
        message.status, message.reason, message.duration_s, message.n_steps,
        message.has_video, message.has_audio,
    )  # fmt: skip
