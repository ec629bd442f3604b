"""Streaming of clips through decoding and encoding, for prep and classify.

Decoding, encoding and the consumer of the chunks run concurrently. Memory is bounded: that of
frames by the shared memory of the decoding processes, that of encoded chunks that wait for earlier
clips by their size in bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.settings import DecodeSettings
from data_prep.worker.protocol import DecodeJob, Failure
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encoded_clip import EncodedChunk, EncodedClip, EncodedItem
from pipeline.features.feature_batches import Encoders, FeatureBatches

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
    answers = pool.start(jobs, lambda: output.waiting_bytes < _MAX_WAITING_BYTES)
    # opened while decoding is already running, since loading takes seconds
    batch = FeatureBatches(encoders(), pool.wake, settings.clip)
    for answer in answers:  # None: features are ready, without a new message
        if answer is not None:
            job, message = answer
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
