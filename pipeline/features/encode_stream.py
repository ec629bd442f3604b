"""Streaming of clips through decoding and encoding, for prep and classify.

Frames and audio windows of several clips share the batches of the encoders. Decoding, encoding and
the consumer of the chunks run concurrently. Memory is bounded: that of frames by the shared memory
of the decoding processes, that of encoded chunks waiting for earlier clips by their size in bytes.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.frame_difference import N_FIELDS, FrameDifference, mirrored_difference
from data_prep.worker.protocol import DecodeJob, Failure
from pipeline.features.batch_encoder import BatchEncoder, Float16Array, InputArray
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encoded_clip import EncodedChunk, EncodedClip, EncodedItem
from pipeline.features.spectrogram_windows import CutWindow, SpectrogramWindows, WindowCutter


@dataclass(frozen=True)
class Encoders:
    """Encoders of frames and of audio windows; None if these features are not needed."""

    frames: BatchEncoder | None = None
    spectrograms: BatchEncoder | None = None
    windows: SpectrogramWindows | None = None  # set together with `spectrograms`
    mirror: bool = False  # encode horizontally flipped frames too, for training


@dataclass(frozen=True)
class _Destination:
    """Where a feature vector is written: these rows of an array of the chunk."""

    chunk: EncodedChunk
    into: Float16Array
    rows: list[int]


class _Batch:
    """Collects inputs of one encoder until a batch is full."""

    def __init__(
        self, encoder: BatchEncoder, done: Callable[[list[_Destination], Float16Array], None]
    ) -> None:
        self._encoder, self._done = encoder, done
        self._inputs: list[InputArray] = []
        self._places: list[_Destination] = []

    def take(self, given: InputArray, place: _Destination) -> None:
        """Add an input; the chunk's n_pending must count it already."""
        self._inputs.append(given)
        self._places.append(place)
        if len(self._inputs) == self._encoder.batch:
            self.flush()

    @property
    def n_features(self) -> int:
        return self._encoder.n_features

    def holds(self, item: object) -> bool:
        """Whether an input of this chunk is in the incomplete batch."""
        return any(place.chunk is item for place in self._places)

    def flush(self) -> None:
        """Encode the incomplete batch."""
        if not self._inputs:
            return
        # new lists, since the old ones now belong to the callback
        inputs, self._inputs = self._inputs, []
        places, self._places = self._places, []
        self._encoder.submit(inputs, lambda vectors: self._done(places, vectors))

    def finish(self) -> None:
        self.flush()
        self._encoder.wait()


@dataclass
class _ClipInProgress:
    """State of a clip between its chunks."""

    cutter: WindowCutter | None
    meter: FrameDifference


class FeatureBatches:
    """Takes decoded chunks and fills in their features asynchronously."""

    def __init__(self, encoders: Encoders, wake: Callable[[], None], clip: ClipSettings) -> None:
        """wake: called, from any thread, when features are ready to be collected."""
        self._encoders, self._wake, self._clip = encoders, wake, clip
        self._done: queue.SimpleQueue[tuple[list[_Destination], Float16Array]] = queue.SimpleQueue()
        self._frames = _Batch(encoders.frames, self._arrived) if encoders.frames else None
        self._sound = (
            _Batch(encoders.spectrograms, self._arrived) if encoders.spectrograms else None
        )
        self._in_progress: dict[int, _ClipInProgress] = {}

    def add(self, source: ClipSource, chunk: ClipChunk) -> EncodedChunk:
        """Take the clip's next chunk; return it without frames, its features still pending.

        The frames are copied, so the chunk may be released.
        """
        clip = self._in_progress.get(id(source)) or self._begin(source)
        encoded = self._empty(chunk)
        if self._frames is not None:
            if self._clip.picture_change:
                _measure_change(clip.meter, chunk, encoded)
            self._take_frames(self._frames, chunk, encoded)
        if clip.cutter is not None:
            self._take_windows(clip.cutter.push(encoded))
        return encoded

    def end(self, source: ClipSource) -> None:
        """End the clip: its last windows, which wait for more audio, are padded and encoded."""
        clip = self._in_progress.pop(id(source), None)
        if clip is not None and clip.cutter is not None:
            self._take_windows(clip.cutter.finish())

    def holds_back(self, item: object) -> bool:
        """Whether an input of this chunk waits here for a batch to be full."""
        return any(batch.holds(item) for batch in self._batches)

    def flush(self) -> None:
        """Encode incomplete batches."""
        for batch in self._batches:
            batch.flush()

    def collect(self) -> None:
        """Write the features that are ready into their chunks, without waiting."""
        while True:
            try:
                places, vectors = self._done.get_nowait()
            except queue.Empty:
                return
            for place, vector in zip(places, vectors, strict=True):
                place.into[place.rows] = vector
                place.chunk.n_pending -= 1  # in the reader's thread only, so without a lock

    def finish(self) -> None:
        """Encode everything and write all features into their chunks; blocks."""
        for batch in self._batches:
            batch.finish()
        self.collect()

    @property
    def _batches(self) -> list[_Batch]:
        return [batch for batch in (self._frames, self._sound) if batch is not None]

    def _arrived(self, places: list[_Destination], vectors: Float16Array) -> None:
        self._done.put((places, vectors))  # in an encoder's thread
        self._wake()

    def _take_windows(self, cut: Iterable[CutWindow]) -> None:
        assert self._sound is not None
        for window in cut:
            assert window.chunk.spectrogram_features is not None
            place = _Destination(window.chunk, window.chunk.spectrogram_features, [window.row])
            self._sound.take(window.samples, place)

    def _take_frames(self, frames: _Batch, chunk: ClipChunk, encoded: EncodedChunk) -> None:
        for steps in _steps_by_frame(chunk):
            # a copy, since the chunk's shared memory is released before the batch is encoded
            frame = chunk.frames[steps[0]].copy()
            variants = [(frame, encoded.features), (frame[:, :, ::-1], encoded.mirrored)]
            for image, into in variants:
                if into is not None:
                    encoded.n_pending += 1
                    # the columns behind the CNN's are those of picture_change
                    frames.take(image, _Destination(encoded, into[:, : frames.n_features], steps))

    def _begin(self, source: ClipSource) -> _ClipInProgress:
        windows = self._encoders.windows
        cutter = None if windows is None else WindowCutter(windows)
        self._in_progress[id(source)] = clip = _ClipInProgress(cutter, FrameDifference())
        return clip

    def _empty(self, chunk: ClipChunk) -> EncodedChunk:
        encoders = self._encoders
        width = encoders.frames.n_features if encoders.frames else 0
        width += N_FIELDS if width and self._clip.picture_change else 0
        features = np.zeros((chunk.n_steps, width), np.float16)  # [T, D]; 0 for steps without frame
        sound = None
        if encoders.spectrograms is not None and encoders.windows is not None:
            rows = chunk.n_steps * encoders.windows.per_step
            sound = np.zeros((rows, encoders.spectrograms.n_features), np.float16)  # [windows, D]
        return EncodedChunk(
            chunk.index, features, chunk.frame_times_s, chunk.waveform, chunk.video_mask,
            chunk.audio_mask, chunk.jpegs, chunk.waveform_scale,
            mirrored=features.copy() if encoders.mirror and width else None,
            spectrogram_features=sound,
        )  # fmt: skip


def _measure_change(meter: FrameDifference, chunk: ClipChunk, encoded: EncodedChunk) -> None:
    """Write the change of each frame into the last columns; a repeated frame has no change."""
    for steps in _steps_by_frame(chunk):
        change = meter.measure(chunk.frames[steps[0]])
        encoded.features[steps[0], -N_FIELDS:] = change
        if encoded.mirrored is not None:
            encoded.mirrored[steps[0], -N_FIELDS:] = mirrored_difference(change)


def _steps_by_frame(chunk: ClipChunk) -> list[list[int]]:
    """Steps with a frame, grouped by frame, so that a repeated frame is encoded once."""
    steps: list[list[int]] = []
    for t in map(int, np.flatnonzero(chunk.video_mask)):
        times_s = chunk.frame_times_s  # the same time means the same frame
        if steps and times_s[t] == times_s[steps[-1][0]]:
            steps[-1].append(t)
        else:
            steps.append([t])
    return steps


_MAX_WAITING = 24  # chunks and outcomes
_MAX_WAITING_BYTES = 256 * 1024 * 1024


OpenEncoders = Callable[[], Encoders]


def encode_clips(
    sources: Iterable[ClipSource],
    settings: DecodeSettings,
    pool: DecodePool,
    encoders: OpenEncoders,
    in_order: bool = True,
    flush_after: Container[str] = frozenset(),
) -> Iterator[EncodedItem]:
    """Decode and encode clips; yield each clip's chunks, then its outcome.

    The items of one clip are in order, the clips only if `in_order`. encoders: opens the encoders;
    without one for frames, features are [T, 0]. flush_after: ids of clips at whose end incomplete
    batches are encoded at once, so that what is complete can be written. Raises RuntimeError if an
    encoder failed.
    """
    output = _OrderedOutput(in_order)
    jobs = (DecodeJob(output.enter(source), settings) for source in sources)
    messages = pool.start(jobs, lambda: output.waiting_bytes < _MAX_WAITING_BYTES)
    # opened while decoding is already running, since loading takes seconds
    batch = FeatureBatches(encoders(), pool.wake, settings.clip)
    for received in messages:  # None: features are ready, without a new message
        if received is not None:
            job, message = received
            assert isinstance(job, DecodeJob)
            if isinstance(message, ClipChunk):
                output.add(job.source, batch.add(job.source, message))
                message.release()  # the batch has copied the frames
            else:
                batch.end(job.source)
                output.add(job.source, _outcome(message))
                if job.source.id in flush_after:
                    batch.flush()
        if output.n_waiting > _MAX_WAITING and batch.holds_back(output.first):
            batch.flush()  # the first clip waits for a full batch, and the others for it
        batch.collect()
        yield from output.ready()
    batch.finish()
    yield from output.ready()
    if output.n_waiting:
        raise RuntimeError(f"{output.n_waiting} chunks were not encoded; the frame encoder failed")


def whole_clips(items: Iterable[EncodedItem]) -> Iterator[EncodedClip]:
    """Collect the chunks of each clip; the items must be in order of clips."""
    chunks: list[EncodedChunk] = []
    for source, item in items:
        if isinstance(item, EncodedChunk):
            chunks.append(item)
        else:
            # a clip that failed may have chunks from before the failure
            yield EncodedClip(source, item, chunks if item.status.usable else [])
            chunks = []


class _OrderedOutput:
    """Queues of items per clip, released when their features are complete and it is their turn."""

    def __init__(self, in_order: bool) -> None:
        self._in_order = in_order
        # keyed by id(source); the order of insertion is the order of the clips
        self._queues: dict[int, tuple[ClipSource, deque[EncodedChunk | ClipOutcome]]] = {}
        self.n_waiting = self.waiting_bytes = 0

    def enter(self, source: ClipSource) -> ClipSource:
        """Start a clip; called from decoding threads, one at a time."""
        self._queues[id(source)] = (source, deque())
        return source

    def add(self, source: ClipSource, item: EncodedChunk | ClipOutcome) -> None:
        """Append an item to its clip's queue."""
        self._queues[id(source)][1].append(item)
        self.n_waiting += 1
        self.waiting_bytes += _size(item)

    @property
    def first(self) -> EncodedChunk | ClipOutcome | None:
        """The next item of the first clip, or None if there is none yet."""
        # a copy: decoding threads add clips meanwhile
        for _, items in list(self._queues.values())[:1]:
            return items[0] if items else None
        return None

    def ready(self) -> Iterator[EncodedItem]:
        """Remove and yield items whose features are complete and whose turn it is."""
        for key, (source, items) in list(self._queues.items()):
            while items and not (isinstance(items[0], EncodedChunk) and items[0].n_pending):
                item = items.popleft()
                self.n_waiting -= 1
                self.waiting_bytes -= _size(item)
                if isinstance(item, ClipOutcome):
                    del self._queues[key]
                yield source, item
            if self._in_order and key in self._queues:
                return


def _size(item: EncodedChunk | ClipOutcome) -> int:
    return item.size_bytes if isinstance(item, EncodedChunk) else 0


def _outcome(message: object) -> ClipOutcome:
    if isinstance(message, Failure):
        return ClipOutcome(message.status, message.reason, limit=message.limit)
    assert isinstance(message, DecodeSummary)
    return ClipOutcome(
        message.status, message.reason, message.duration_s, message.n_steps,
        message.has_video, message.has_audio, message.decode_strategy, message.limit,
    )  # fmt: skip
