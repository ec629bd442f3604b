"""The streaming engine that prep and classify share: decode workers → frame encoder → chunks.

Decoding, the CNN and whoever takes the chunks work at the same time. What is in memory is bounded:
frames by the shared memory they come in, encoded chunks that wait for their turn by their bytes.
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

_MOST_WAITING = 24
_MOST_WAITING_BYTES = 256 * 1024 * 1024


OpenEncoders = Callable[[], Encoders]


def encode_clips(
    sources: Iterable[ClipSource],
    settings: DecodeSettings,
    pool: DecodePool,
    encoders: OpenEncoders,
    in_order: bool = True,
    flush_after: Container[str] = frozenset(),
) -> Iterator[EncodedItem]:
    """Decode and encode clips; a clip's own items are in order, clips only if `in_order`.

    encoders: opened when decoding is under way, since loading them takes seconds; without one for
    frames features are [T, 0]. flush_after: ids after whose end the batches are sent off without
    waiting for later clips' frames, so that what is complete can be written.
    """
    lane = _OrderedOutput(in_order)
    jobs = (DecodeJob(lane.enter(source), settings) for source in sources)
    answers = pool.start(jobs, lambda: lane.waiting_bytes < _MOST_WAITING_BYTES)
    batch = FeatureBatches(encoders(), pool.wake, settings.clip)
    for answer in answers:
        if answer is not None:
            job, message = answer
            assert isinstance(job, DecodeJob)
            if isinstance(message, ClipChunk):
                lane.add(job.source, batch.add(job.source, message))
                message.release()
            else:
                batch.end(job.source)
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


class _OrderedOutput:
    """Items on their way out, one lane per clip; a clip leaves when its outcome does."""

    def __init__(self, in_order: bool) -> None:
        self._in_order = in_order
        self._lanes: dict[int, tuple[ClipSource, deque[EncodedChunk | ClipOutcome]]] = {}
        self.n_waiting = self.waiting_bytes = 0

    def enter(self, source: ClipSource) -> ClipSource:
        """A clip begins; called by decoding threads, one at a time."""
        self._lanes[id(source)] = (source, deque())
        return source

    def add(self, source: ClipSource, item: EncodedChunk | ClipOutcome) -> None:
        self._lanes[id(source)][1].append(item)
        self.n_waiting += 1
        self.waiting_bytes += _size(item)

    @property
    def first(self) -> EncodedChunk | ClipOutcome | None:
        """What the first clip waits for to go, if it has come."""
        for _, items in list(self._lanes.values())[:1]:
            return items[0] if items else None
        return None

    def ready(self) -> Iterator[EncodedItem]:
        """Whatever may go now: all of whose frames are encoded, and whose turn it is."""
        for key, (source, items) in list(self._lanes.items()):
            while items and not (isinstance(items[0], EncodedChunk) and items[0].n_pending):
                item = items.popleft()
                self.n_waiting -= 1
                self.waiting_bytes -= _size(item)
                if isinstance(item, ClipOutcome):
                    del self._lanes[key]
                yield source, item
            if self._in_order and key in self._lanes:
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
