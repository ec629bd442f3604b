"""The audit command: find clips that share a recording, and the boundaries each pair crosses.

Clips are compared by their bytes, by fingerprints (up to eight thumbnails, hashes of the sound), by
movement, and by the times at which they were recorded. A fingerprint comes from a prepared work
folder if that holds the clip, which is nearly free, otherwise from the file, decoded as prep
does: frames that were resized differently are less similar to their copies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from data_prep.clip import ClipChunk, Samples, UInt8Array
from data_prep.fingerprints.audio_fingerprint import (
    EMPTY_FINGERPRINT,
    AudioFingerprint,
    audio_fingerprint,
    audio_fingerprint_of_blocks,
)
from data_prep.fingerprints.thumbnail import Vectors, thumbnail_of_jpeg, unit, view_vectors
from data_prep.manifest import ManifestRow, write_manifest
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.sampling import evenly
from data_prep.worker.protocol import DecodeJob
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.errors import UserError
from pipeline.features.decode_pool import DecodePool
from pipeline.features.feature_store import (
    FeatureStore,
    StoredRecording,
    finished_clips,
    open_store,
)
from pipeline.leak_audit.audit_result import (
    AUDIT_FOLDER,
    Audit,
    Matrix,
    mean_features,
    merged_groups,
    proposed_groups,
    split_optimism,
    with_groups,
    write_audit,
)
from pipeline.leak_audit.content_matches import (
    Pair,
    candidate_pairs,
    match_audio,
    match_pictures,
)
from pipeline.leak_audit.findings import Finding, Kind, of_interest, worst_first
from pipeline.leak_audit.recordings import contents, same_bytes, same_recordings
from pipeline.prep.scanning import scan_data
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.workspace import Workspace
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
    """None if nothing could be read. Chunks are not kept: a file may last for hours."""
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


def audit(
    data: Path, work: Path, config: Config, progress: ProgressReporter, accept: bool = False
) -> Audit:
    """Audit a labelled data set and write the results to work/audit.

    accept: also write the proposed groups into the manifest. Raises UserError if no labelled
    clip is readable or the work folder is damaged, DataSetError if the data set is invalid.
    """
    # scan_data writes the manifest, which no other command may read or write meanwhile
    with exclusive_lock(work / LOCK_NAME, work):
        all_rows = scan_data(data, work, config, progress).rows
        rows = [row for row in all_rows if row.trainable]
        if not rows:
            raise UserError(f"{data} contains no readable labelled clip")
        prepared = prepared_in(work)
        if prepared is None:
            progress.note(f"{work} is not prepared; an audit is faster after framewave prep")
        result = audit_rows(rows, prepared, config, progress)
        write_audit(work / AUDIT_FOLDER, result)
        if accept and merged_groups(rows, result.groups):
            # all rows, because unreadable files stay in the manifest too
            write_manifest(Workspace(work).manifest, with_groups(all_rows, result.groups))
    return result


def audit_rows(
    rows: Sequence[ManifestRow],
    prepared: Prepared | None,
    config: Config,
    progress: ProgressReporter,
) -> Audit:
    """Compare every clip with every other one.

    prepared: features and stored frames of the clips, or None; clips it lacks are decoded here.
    """
    fingerprints = _fingerprints(rows, prepared, config, progress)
    content = contents(rows)
    with ThreadPoolExecutor(1) as executor:  # this thread only waits for the decoding processes
        features = executor.submit(_features, prepared, rows)
        by_content = list(match_content(fingerprints, content, config, progress))
    # recorded times alone can be wrong, so the pictures may veto them
    by_time = plausible_time_matches(same_recordings(rows), fingerprints)
    findings = _strongest([*same_bytes(rows, content), *by_content, *by_time])
    groups = proposed_groups(rows, findings)
    optimism = split_optimism(features.result(), rows, groups)
    return Audit(
        list(rows), findings, groups, optimism, len(fingerprints), prepared=prepared is not None
    )


def _features(prepared: Prepared | None, rows: Sequence[ManifestRow]) -> dict[str, Matrix]:
    return {} if prepared is None else mean_features(prepared.store, {row.id for row in rows})


@dataclass(frozen=True)
class Prepared:
    """The usable clips of a prepared work folder; ids are clip ids."""

    store: FeatureStore
    clip: ClipSettings
    ids: frozenset[str]


def prepared_in(work: Path) -> Prepared | None:
    """The prepared clips of a work folder, None if there are none. Raises UserError if damaged."""
    space = Workspace(work)
    record = space.read_record()
    if record is None:
        return None
    store = open_store(space, record)
    outcomes = finished_clips(store, work)
    usable_ids = frozenset(key for key, outcome in outcomes.items() if outcome.status.usable)
    return Prepared(store, record.clip, usable_ids)


def _fingerprints(
    rows: Sequence[ManifestRow],
    prepared: Prepared | None,
    config: Config,
    progress: ProgressReporter,
) -> list[ClipFingerprint]:
    progress.start("comparing clips", len(rows))
    fingerprints: list[ClipFingerprint] = []
    prepared_ids: frozenset[str] = frozenset()
    # decoded frames must match stored ones
    clip = config.clip.sized() if prepared is None else prepared.clip
    if prepared is not None:
        prepared_ids = prepared.ids
        prepared_rows = [row for row in rows if row.id in prepared_ids]
        audio_rate_hz = clip.file_audio_rate_hz
        for each in fingerprints_from_store(prepared.store, audio_rate_hz, prepared_rows):
            fingerprints.append(each)
            progress.advance(1)
    rest = [row for row in rows if row.id not in prepared_ids]
    if rest:
        progress.note(
            f"{counted(len(rest), 'clip')} not prepared: decoding them now, which takes longer"
        )
        fingerprints += fingerprints_from_files(rest, clip, config, progress)
    progress.finish()
    # prepared and decoded clips come in two blocks; findings use manifest order
    order = {row.id: k for k, row in enumerate(rows)}
    return sorted(fingerprints, key=lambda each: order[each.row.id])


def _strongest(findings: Sequence[Finding]) -> list[Finding]:
    """The most certain finding of each pair of clips, sorted by `worst_first`."""
    kinds = list(Kind)  # Kind lists the most certain kind first
    best: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        pair = finding.first.id, finding.second.id
        previous = best.get(pair)
        if previous is None or kinds.index(finding.kind) < kinds.index(previous.kind):
            best[pair] = finding
    return worst_first(list(best.values()))


_LEAST_AUDIBLE_S = 1.5  # audible sound needed to say that two clips sound different
_NOT_DIFFERENT = 0.5  # cosine; below it are three in four pairs of unrelated scenes, few of one


def match_content(
    fingerprints: Sequence[ClipFingerprint],
    content: Mapping[str, str],
    config: Config,
    progress: ProgressReporter,
) -> Iterator[Finding]:
    """Findings for pairs of interest between different files; each pair at most once.

    content: {path: an identifier of the file's content}, see `recordings.contents`.
    """
    pair_filter = _PairFilter(fingerprints, content)
    rows = [each.row for each in fingerprints]
    for sound in match_audio([each.audio for each in fingerprints], pair_filter.wanted):
        pair_filter.same_sound.add((sound.first, sound.second))
        dubbed = pair_filter.picture_different(sound.first, sound.second)
        under = " under another picture" if dubbed else ""
        yield Finding(
            Kind.SAME_SOUND, rows[sound.first], rows[sound.second], sound.offset_s, sound.agreement,
            f"{sound.audible_s:.1f} s of it{under}", dubbed,
        )  # fmt: skip
    # clips equal in all of these cannot leak or conflict
    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    views = [each.views for each in fingerprints]
    pairs = candidate_pairs(
        views, kinds, pair_filter.wanted_for_picture, pair_filter.sound_different
    )
    for picture in match_pictures(rows, pairs, content, config, progress) if pairs else ():
        dubbed = pair_filter.sound_different(picture.first, picture.second)
        yield Finding(
            Kind.SAME_PICTURE, rows[picture.first], rows[picture.second], picture.match.offset_s,
            picture.match.score, "under another sound" if dubbed else "", dubbed,
        )  # fmt: skip


def plausible_time_matches(
    by_time: Iterable[Finding], fingerprints: Sequence[ClipFingerprint]
) -> Iterator[Finding]:
    """Drop the findings by recorded time whose clips look entirely different, as those of two
    cameras that were started together do."""
    views = {each.row.id: each.views for each in fingerprints}
    nothing = view_vectors([])  # a clip that was not fingerprinted cannot look different
    for finding in by_time:
        both_views = (views.get(row.id, nothing) for row in (finding.first, finding.second))
        if not _look_different(*both_views):
            yield finding


def _look_different(first: Vectors, second: Vectors) -> bool:
    """Whether both have frames, and no frame of one is similar to any frame of the other."""
    if not first.size or not second.size:
        return False
    return float((unit(first) @ unit(second).T).max()) < _NOT_DIFFERENT


class _PairFilter:
    """Decides which pairs of clips, by index, are worth comparing."""

    def __init__(self, clips: Sequence[ClipFingerprint], content: Mapping[str, str]) -> None:
        self._clips, self._content = clips, content
        self.same_sound: set[Pair] = set()
        """Pairs already found to have the same sound."""

    def wanted(self, first: int, second: int) -> bool:
        a, b = self._clips[first].row, self._clips[second].row
        # files of equal bytes are handled by same_bytes: two moments of one file are not a copy
        return self._content[a.path] != self._content[b.path] and of_interest(a, b)

    def wanted_for_picture(self, first: int, second: int) -> bool:
        return (first, second) not in self.same_sound and self.wanted(first, second)

    def sound_different(self, first: int, second: int) -> bool:
        """Whether both clips have enough sound to conclude that they differ; for pairs whose sound
        did not match. Such pairs are two recordings, unless one was dubbed."""
        return all(self._clips[k].audio.audible_s >= _LEAST_AUDIBLE_S for k in (first, second))

    def picture_different(self, first: int, second: int) -> bool:
        return _look_different(self._clips[first].views, self._clips[second].views)
