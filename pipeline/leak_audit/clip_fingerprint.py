"""Fingerprint of each clip for the audit: up to eight thumbnails, and hashes of its sound.

Made from a prepared work folder where it holds the clip, which is nearly free, otherwise from the
file, decoded as prep does: frames that were resized differently are less similar to their copies.
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

_MOST_FRAMES = 8  # per clip, evenly spaced
_AHEAD_PER_THREAD = 4  # recordings read ahead of the threads, which bounds memory

Item = TypeVar("Item")


@dataclass(frozen=True)
class ClipFingerprint:
    """Thumbnails and sound of a clip. views: float32 [F, D], F ≤ 8, see `view_vectors`."""

    row: ManifestRow
    views: Vectors
    audio: AudioFingerprint


def fingerprints_from_store(
    store: FeatureStore, audio_rate_hz: int, rows: Sequence[ManifestRow]
) -> Iterator[ClipFingerprint]:
    """Fingerprints of rows that are all in a prepared work folder, in the store's order."""
    row_of = {row.id: row for row in rows}

    def fingerprint(recording: StoredRecording) -> ClipFingerprint:
        frames = [thumbnail_of_jpeg(jpeg) for jpeg in _evenly_spaced(recording.jpegs)]
        audio = _audio(recording.waveform, audio_rate_hz)
        return ClipFingerprint(row_of[recording.id], view_vectors(frames), audio)

    n_threads = count_cores(0)  # decoding a JPEG releases the interpreter lock
    pending: deque[Future[ClipFingerprint]] = deque()
    with ThreadPoolExecutor(n_threads) as executor:
        for recording in store.recordings(row_of):  # not map: it would read all of them at once
            pending.append(executor.submit(fingerprint, recording))
            if len(pending) > _AHEAD_PER_THREAD * n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def fingerprints_from_files(
    rows: Sequence[ManifestRow], clip: ClipSettings, config: Config, progress: ProgressReporter
) -> list[ClipFingerprint]:
    """Fingerprints of files, decoded here; unreadable files are left out and counted in a note."""
    # JPEGs, because stored frames went through JPEG too
    settings = DecodeSettings(clip, config.limits, want_jpegs=True)
    found: list[ClipFingerprint] = []
    failed = 0
    with DecodePool(config.classify.workers) as pool:
        jobs = (DecodeJob(row.source, settings) for row in rows)
        for row, chunks in zip(rows, pool.chunks(jobs), strict=True):
            fingerprint = _fingerprint(row, chunks, clip.file_audio_rate_hz)
            if fingerprint is None:
                failed += 1
            else:
                found.append(fingerprint)
            progress.advance(1, failed=fingerprint is None)
    if failed:
        progress.note(f"{counted(failed, 'file')} could not be read and will not be compared")
    return found


def _fingerprint(
    row: ManifestRow, chunks: Iterable[ClipChunk], audio_rate_hz: int
) -> ClipFingerprint | None:
    """None where nothing could be read. Chunks are not kept: a file may last for hours."""
    frames: list[UInt8Array] = []
    n_chunks = 0

    def samples() -> Iterator[Samples]:
        nonlocal n_chunks
        for chunk in chunks:
            n_chunks += 1
            # reading the sound drives the chunks; thumbnails are collected on the way
            frames.extend(thumbnail_of_jpeg(jpeg) for jpeg in chunk.jpegs if jpeg)
            yield chunk.samples

    audio = audio_fingerprint_of_blocks(samples(), audio_rate_hz)
    if not n_chunks:
        return None
    return ClipFingerprint(
        row,
        view_vectors(_evenly_spaced(frames)),
        audio if audio.audible.any() else EMPTY_FINGERPRINT,
    )


def _audio(waveform: Samples, rate_hz: int) -> AudioFingerprint:
    return audio_fingerprint(waveform, rate_hz) if waveform.any() else EMPTY_FINGERPRINT


def _evenly_spaced(items: Sequence[Item]) -> list[Item]:
    return [items[k] for k in evenly(len(items), _MOST_FRAMES)]
