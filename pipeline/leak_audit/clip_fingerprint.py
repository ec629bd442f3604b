"""What the audit knows of each clip at first sight: a few small frames, and its sound's words.

Taken from a prepared work folder where the clip is in it, which costs next to nothing, else from
the file, decoded as prep would: a picture made in another way is less like a copy of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from data_prep.clip import ClipChunk, Samples, UInt8Array
from data_prep.fingerprints.audio_fingerprint import (
    EMPTY_FINGERPRINT,
    AudioFingerprint,
    audio_fingerprint,
    audio_fingerprint_of_blocks,
)
from data_prep.fingerprints.thumbnail import Vectors, thumbnail_of_jpeg, view_vectors
from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.sampling import evenly
from data_prep.worker.protocol import DecodeJob
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.features.decode_pool import DecodePool
from pipeline.features.feature_store import FeatureStore, StoredRecording
from pipeline.reporter import ProgressReporter
from pipeline.text_format import counted

_MOST_FRAMES = 8
_AHEAD_PER_THREAD = 4

Item = TypeVar("Item")


@dataclass(frozen=True)
class ClipFingerprint:
    """A clip at first sight. views float32 [F, D], see `view_vectors`; F ≤ 8."""

    row: ManifestRow
    views: Vectors
    audio: AudioFingerprint


def fingerprints_from_store(
    store: FeatureStore, audio_rate_hz: int, rows: Sequence[ManifestRow]
) -> Iterator[ClipFingerprint]:
    """Of the rows that a prepared work folder holds, as they come."""
    of_id = {row.id: row for row in rows}

    def look(recording: StoredRecording) -> ClipFingerprint:
        frames = [thumbnail_of_jpeg(jpeg) for jpeg in _some(recording.jpegs)]
        sound = _print(recording.waveform, audio_rate_hz)
        return ClipFingerprint(of_id[recording.id], view_vectors(frames), sound)

    n_threads = count_cores(0)
    waiting: deque[Future[ClipFingerprint]] = deque()
    with ThreadPoolExecutor(n_threads) as threads:
        for recording in store.recordings(of_id):  # not map, which reads all of them at once
            waiting.append(threads.submit(look, recording))
            if len(waiting) > _AHEAD_PER_THREAD * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def fingerprints_from_files(
    rows: Sequence[ManifestRow], clip: ClipSettings, config: Config, progress: ProgressReporter
) -> list[ClipFingerprint]:
    """Of the rows' files; those that cannot be read any more are left out, and told."""
    settings = DecodeSettings(clip, config.limits, want_jpegs=True)
    found: list[ClipFingerprint] = []
    failed = 0
    with DecodePool(config.classify.workers) as pool:
        jobs = (DecodeJob(row.source, settings) for row in rows)
        for row, chunks in zip(rows, pool.chunks(jobs), strict=True):
            seen = _fingerprint(row, chunks, clip.file_audio_rate_hz)
            if seen is None:
                failed += 1
            else:
                found.append(seen)
            progress.advance(1, failed=seen is None)
    if failed:
        progress.note(f"{counted(failed, 'file')} could not be read and cannot be compared")
    return found


def _fingerprint(
    row: ManifestRow, chunks: Iterable[ClipChunk], audio_rate_hz: int
) -> ClipFingerprint | None:
    """None where nothing could be read. Chunk by chunk, since a file may last for hours."""
    frames: list[UInt8Array] = []
    n_chunks = 0

    def sound() -> Iterator[Samples]:
        nonlocal n_chunks
        for chunk in chunks:
            n_chunks += 1
            frames.extend(thumbnail_of_jpeg(jpeg) for jpeg in chunk.jpegs if jpeg)
            yield chunk.samples

    words = audio_fingerprint_of_blocks(sound(), audio_rate_hz)
    if not n_chunks:
        return None
    return ClipFingerprint(
        row, view_vectors(_some(frames)), words if words.audible.any() else EMPTY_FINGERPRINT
    )


def _print(waveform: Samples, rate_hz: int) -> AudioFingerprint:
    return audio_fingerprint(waveform, rate_hz) if waveform.any() else EMPTY_FINGERPRINT


def _some(items: Sequence[Item]) -> list[Item]:
    return [items[k] for k in evenly(len(items), _MOST_FRAMES)]
