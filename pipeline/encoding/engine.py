"""The streaming engine that prep and classify share: decode workers → frame encoder → chunks.

Decoding, the CNN and whoever takes the chunks work at the same time. What is in memory is bounded:
frames by the shared memory they come in, encoded chunks that wait for their turn by their bytes.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
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
from data_prep.dataset.clip_store import Outcome
from data_prep.process.protocol import DecodeJob, Failure
from data_prep.settings import DecodeSettings
from pipeline.decoding.decode_pool import DecodePool
from pipeline.encoding.batch_encoder import BatchEncoder, Float16Array

_MOST_WAITING = 24
_MOST_WAITING_BYTES = 256 * 1024 * 1024


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
    """Vectors that are not there yet."""
    mirrored: Float16Array | None = None
    """Features of the frames mirrored left to right, where they were asked for."""

    @property
    def n_steps(self) -> int:
        return int(self.has_picture.shape[0])

    @property
    def size_bytes(self) -> int:
        mirrored = 0 if self.mirrored is None else self.mirrored.nbytes
        return self.features.nbytes + mirrored + self.waveform.nbytes + sum(map(len, self.jpegs))


EncodedItem = tuple[ClipSource, EncodedChunk | Outcome]
"""A chunk of a clip, or how the clip ended. A clip that failed may have given chunks before."""

OpenEncoder = Callable[[], BatchEncoder | None]


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
    encoder: OpenEncoder,
    in_order: bool = True,
    flush_after: Container[str] = frozenset(),
    mirror: bool = False,
) -> Iterator[EncodedItem]:
    """Decode and encode clips; a clip's own items are in order, clips only if `in_order`.

    encoder: opened when decoding is under way, since loading it takes seconds; None (sound only)
    gives features [T, 0]. flush_after: ids after whose end the batch is sent off without waiting
    for later clips' frames, so that what is complete can be written. mirror: encode each frame
    mirrored left to right too, for training.
    """
    lane = _Lanes(in_order)
    jobs = (DecodeJob(lane.enter(source), settings) for source in sources)
    answers = pool.start(jobs, lambda: lane.waiting_bytes < _MOST_WAITING_BYTES)
    batch = _FrameBatch(encoder(), pool.wake, mirror)
    for answer in answers:
        if answer is not None:
            job, message = answer
            assert isinstance(job, DecodeJob)
            if isinstance(message, ClipChunk):
                lane.add(job.source, batch.add(message))
                message.give_back()
            else:
                lane.add(job.source, _outcome(message))
                if job.source.id in flush_after:
                    batch.flush()
        if lane.n_waiting > _MOST_WAITING and batch.holds_back(lane.first):
            batch.flush()  # sound and failures behind one frame must not pile up
        batch.collect()
        yield from lane.ready()
    batch.finish()
    yield from lane.ready()
    if lane.n_waiting:
        raise RuntimeError(f"{lane.n_waiting} chunks were not encoded; the frame encoder failed")


def whole_clips(items: Iterable[EncodedItem]) -> Iterator[EncodedClip]:
    """Chunks joined to clips, for those who need all of a clip at once; items in order of clips."""
    chunks: list[EncodedChunk] = []
    for source, item in items:
        if isinstance(item, EncodedChunk):
            chunks.append(item)
        else:
            yield EncodedClip(source, item, chunks if item.status.usable else [])
            chunks = []


class _Lanes:
    """Items on their way out, one lane per clip; a clip leaves when its outcome does."""

    def __init__(self, in_order: bool) -> None:
        self._in_order = in_order
        self._lanes: dict[int, tuple[ClipSource, deque[EncodedChunk | Outcome]]] = {}
        self.n_waiting = self.waiting_bytes = 0

    def enter(self, source: ClipSource) -> ClipSource:
        """A clip begins; called by decoding threads, one at a time."""
        self._lanes[id(source)] = (source, deque())
        return source

    def add(self, source: ClipSource, item: EncodedChunk | Outcome) -> None:
        self._lanes[id(source)][1].append(item)
        self.n_waiting += 1
        self.waiting_bytes += _size(item)

    @property
    def first(self) -> EncodedChunk | Outcome | None:
        """What the first clip waits for to go, if it has come."""
        for _, items in list(self._lanes.values())[:1]:
            return items[0] if items else None
        return None

    def ready(self) -> Iterator[EncodedItem]:
        """Whatever may go now: all of whose frames are encoded, and whose turn it is."""
        for key, (source, items) in list(self._lanes.items()):
            while items and not (isinstance(items[0], EncodedChunk) and items[0].waiting):
                item = items.popleft()
                self.n_waiting -= 1
                self.waiting_bytes -= _size(item)
                if isinstance(item, Outcome):
                    del self._lanes[key]
                yield source, item
            if self._in_order and key in self._lanes:
                return


def _size(item: EncodedChunk | Outcome) -> int:
    return item.size_bytes if isinstance(item, EncodedChunk) else 0


@dataclass(frozen=True)
class _Place:
    """Where a vector goes: these rows of an array of a chunk."""

    chunk: EncodedChunk
    into: Float16Array
    rows: list[int]


class _FrameBatch:
    """Collects frames of successive chunks into full batches and hands the features back."""

    def __init__(
        self, encoder: BatchEncoder | None, wake: Callable[[], None], mirror: bool = False
    ) -> None:
        self._encoder, self._wake, self._mirror = encoder, wake, mirror
        self._frames: list[UInt8Array] = []
        self._places: list[_Place] = []
        self._done: queue.SimpleQueue[tuple[list[_Place], Float16Array]] = queue.SimpleQueue()

    def add(self, chunk: ClipChunk) -> EncodedChunk:
        """The chunk without its frames, which are copied."""
        width = self._encoder.n_features if self._encoder else 0
        features = np.zeros((chunk.n_steps, width), np.float16)
        encoded = EncodedChunk(
            chunk.index, features, chunk.frame_times_s, chunk.waveform, chunk.has_picture,
            chunk.has_sound, chunk.jpegs, mirrored=features.copy() if self._mirror else None,
        )  # fmt: skip
        if self._encoder is None:
            return encoded
        for steps in _held(chunk):
            # a copy: the chunk's memory is given back when all of it was taken
            frame = chunk.frames[steps[0]].copy()
            self._take(frame, _Place(encoded, encoded.features, steps))
            if encoded.mirrored is not None:
                self._take(frame[:, :, ::-1], _Place(encoded, encoded.mirrored, steps))
        return encoded

    def _take(self, frame: UInt8Array, place: _Place) -> None:
        assert self._encoder is not None
        self._frames.append(frame)
        self._places.append(place)
        place.chunk.waiting += 1
        if len(self._frames) == self._encoder.batch:
            self.flush()

    def holds_back(self, item: EncodedChunk | Outcome | None) -> bool:
        """Whether frames of this chunk wait here for the batch to be full."""
        return any(place.chunk is item for place in self._places)

    def flush(self) -> None:
        """Send off what is there, however little."""
        if not self._frames or self._encoder is None:
            return
        places, self._places = self._places, []
        frames, self._frames = self._frames, []

        def done(vectors: Float16Array) -> None:
            self._done.put((places, vectors))
            self._wake()

        self._encoder.submit(frames, done)

    def collect(self) -> None:
        """Hand out the features that are there by now."""
        while True:
            try:
                places, vectors = self._done.get_nowait()
            except queue.Empty:
                return
            for place, vector in zip(places, vectors, strict=True):
                place.into[place.rows] = vector
                place.chunk.waiting -= 1

    def finish(self) -> None:
        """Until all features are handed out."""
        self.flush()
        if self._encoder is not None:
            self._encoder.wait()
        self.collect()


def _held(chunk: ClipChunk) -> list[list[int]]:
    """Steps with picture, those that show one and the same frame together: it is encoded once."""
    steps: list[list[int]] = []
    for t in map(int, np.flatnonzero(chunk.has_picture)):
        times_s = chunk.frame_times_s
        if steps and times_s[t] == times_s[steps[-1][0]]:
            steps[-1].append(t)
        else:
            steps.append([t])
    return steps


def _outcome(message: object) -> Outcome:
    if isinstance(message, Failure):
        return Outcome(message.status, message.reason)
    assert isinstance(message, ClipReport)
    return Outcome(
        message.status, message.reason, message.duration_s, message.n_steps,
        message.has_video, message.has_audio, message.frame_way,
    )  # fmt: skip
