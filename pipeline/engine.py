"""The streaming engine that prep and classify share: decode workers → frame encoder → chunks.

Chunks of clips come out in the order the clips were asked for, each clip ended by its outcome,
failures included. What is in memory at a time is bounded by the pool's look-ahead, one batch of
frames and the chunks it belongs to, however long the clips are.
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
from pipeline.decode_pool import DecodePool
from pipeline.encoder import BatchEncoder, Float16Array

_MOST_WAITING = 24


@dataclass
class EncodedChunk:
    """A ClipChunk whose frames became features: float16 [T, D], zero without picture."""

    index: int
    features: Float16Array
    frame_times_s: FloatArray
    waveform: Int16Array
    has_picture: BoolArray
    has_sound: BoolArray
    jpegs: tuple[bytes, ...]
    waiting: int = 0
    """Frames that still stand in the encoder's batch."""

    @property
    def n_steps(self) -> int:
        return int(self.has_picture.shape[0])


EncodedItem = tuple[ClipSource, EncodedChunk | Outcome]
"""A chunk of a clip, or how the clip ended. A clip that failed may have given chunks before."""


@dataclass
class EncodedClip:
    """One clip, whole; without chunks where it failed."""

    source: ClipSource
    outcome: Outcome
    chunks: list[EncodedChunk] = field(default_factory=list)


def encode_clips(
    sources: Iterable[ClipSource],
    settings: DecodeSettings,
    pool: DecodePool,
    encoder: BatchEncoder | None,
    flush_after: Container[str] = frozenset(),
) -> Iterator[EncodedItem]:
    """Decode and encode clips, in order. Without an encoder (sound only) features are [T, 0].

    flush_after: ids after which the batch is not filled up with later clips' frames, so that
    everything up to there is complete.
    """
    batch = _FrameBatch(encoder)
    items: deque[EncodedItem] = deque()
    jobs = (DecodeJob(source, settings) for source in sources)
    for job, message in pool.run(jobs):
        assert isinstance(job, DecodeJob)
        if isinstance(message, ClipChunk):
            items.append((job.source, batch.add(message)))
        else:
            items.append((job.source, _outcome(message)))
            if job.source.id in flush_after:
                batch.flush()
        if len(items) > _MOST_WAITING:  # sound and failures behind one frame must not pile up
            batch.flush()
        yield from _ready(items)
    batch.flush()
    yield from _ready(items)


def whole_clips(items: Iterable[EncodedItem]) -> Iterator[EncodedClip]:
    """Chunks joined to clips, for those who need all of a clip at once."""
    chunks: list[EncodedChunk] = []
    for source, item in items:
        if isinstance(item, EncodedChunk):
            chunks.append(item)
        else:
            yield EncodedClip(source, item, chunks if item.status.usable else [])
            chunks = []


def _ready(items: deque[EncodedItem]) -> Iterator[EncodedItem]:
    """Items from the front whose frames are all encoded."""
    while items:
        item = items[0][1]
        if isinstance(item, EncodedChunk) and item.waiting:
            return
        yield items.popleft()


class _FrameBatch:
    """Collects frames of successive clips into full batches and hands the features back."""

    def __init__(self, encoder: BatchEncoder | None) -> None:
        self._encoder = encoder
        self._frames: list[UInt8Array] = []
        self._owners: list[tuple[EncodedChunk, list[int]]] = []

    def add(self, chunk: ClipChunk) -> EncodedChunk:
        width = self._encoder.n_features if self._encoder else 0
        encoded = EncodedChunk(
            chunk.index, np.zeros((chunk.n_steps, width), np.float16), chunk.frame_times_s,
            chunk.waveform, chunk.has_picture, chunk.has_sound, chunk.jpegs,
        )  # fmt: skip
        if self._encoder is None:
            return encoded
        times_s, before = chunk.frame_times_s, -1
        for t in map(int, np.flatnonzero(chunk.has_picture)):
            previous, before = before, t
            if previous >= 0 and times_s[t] == times_s[previous]:  # held: encoded once
                if self._owners:
                    self._owners[-1][1].append(t)
                else:  # the batch went off in between
                    encoded.features[t] = encoded.features[previous]
                continue
            # a copy: a view would keep all frames of the chunk until the last one is encoded
            self._frames.append(chunk.frames[t].copy())
            self._owners.append((encoded, [t]))
            encoded.waiting += 1
            if len(self._frames) == self._encoder.batch:
                self.flush()
        return encoded

    def flush(self) -> None:
        if not self._frames or self._encoder is None:
            return
        vectors = self._encoder.encode(self._frames)
        for (chunk, steps), vector in zip(self._owners, vectors, strict=True):
            chunk.features[steps] = vector
            chunk.waiting -= 1
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
