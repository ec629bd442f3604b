"""Finds pairs of clips with the same content: the same sound, or the same moving picture.

Sound: clips whose audio hashes agree at one time offset. The candidates are found by an inverted
index of parts of hashes, then verified bit by bit. Picture: clips whose thumbnails are similar
even without the background that clips of one camera share are decoded again and compared by motion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.audio_fingerprint import HASH_HOP_S, AudioFingerprint, agreement
from data_prep.fingerprints.motion_frames import MotionFrames
from data_prep.fingerprints.motion_match import (
    MotionMatch,
    MotionSignature,
    match_motion,
    may_match,
)
from data_prep.fingerprints.thumbnail import Vectors, unit
from data_prep.manifest import ManifestRow
from data_prep.worker.protocol import MotionJob
from pipeline.config import Config
from pipeline.features.decode_pool import DecodePool
from pipeline.reporter import ProgressReporter
from pipeline.text_format import counted

_LEAST_CLIPS, _MOST_CLIPS = 5, 24  # similar clips from which the background is estimated
_DIRECTIONS = 4  # of variation that are removed, at most
_CODING_NOISE = 1.5  # grey levels; below it clips may be copies that differ by coding alone
_FAINT = 0.7  # grey levels; a residual below it may be coding noise alone
_SAME_BACKGROUND = 0.4  # measured on 180 clips of fixed cameras: planted copies from 0.5 on
_TINY = 1e-6


def static_views(views: Sequence[Vectors]) -> Vectors:
    """float32 [N, D]: the median frame of each clip, zeros for a clip without frames."""
    stills = np.zeros((len(views), max((v.shape[1] for v in views), default=0)), np.float32)
    for still, own in zip(stills, views, strict=True):
        if own.shape[0]:
            still[:] = np.median(own, axis=0)
    return stills


@dataclass(frozen=True)
class _Background:
    """Mean [D], main directions [Q, D] and typical RMS deviation (spread) of some clips."""

    mean: npt.NDArray[np.float32]
    directions: Vectors
    spread: float

    def removed_from(self, frames: Vectors) -> Vectors:
        """[F, D] without the mean and the main directions."""
        residual: Vectors = frames - self.mean
        residual -= residual @ self.directions.T @ self.directions
        return residual


class StaticBackground:
    """What the clips most similar to one clip have in common, such as a camera's view."""

    def __init__(
        self, views: Sequence[Vectors], stills: Vectors, clip: int, similar: npt.NDArray[np.intp]
    ) -> None:
        """similar: indices of the clips similar to `clip`, the most similar first."""
        self._views, self._stills, self._own = views, stills, views[clip]
        self._similar = list(map(int, similar[: _MOST_CLIPS + 1]))
        self._of_all: _Background | None = None

    def distinguishes(self, other: int) -> bool:
        """Whether the clip and another one differ once the shared background is removed.

        False if there are too few clips to tell, or if all may be one recording.
        """
        # the other clip must not be part of its own background
        if len(self._similar) - (other in self._similar) < _LEAST_CLIPS:
            return False
        background = self._background_without(other)
        # all similar clips may be copies, so there is no background
        if background.spread < _CODING_NOISE:
            return False
        residual = background.removed_from(self._own)
        other_residual = background.removed_from(self._views[other])
        if min(_rms(residual), _rms(other_residual)) < _FAINT:
            return False
        return float((unit(residual) @ unit(other_residual).T).max()) < _SAME_BACKGROUND

    def _background_without(self, other: int) -> _Background:
        if other in self._similar:
            return _estimate_background(self._stills[[k for k in self._similar if k != other]])
        if self._of_all is None:  # the same for every dissimilar clip, so computed once
            self._of_all = _estimate_background(self._stills[self._similar])
        return self._of_all


def _rms(frames: Vectors) -> float:
    return float(np.sqrt((frames**2).mean(axis=1)).min())


def _estimate_background(stills: Vectors) -> _Background:
    mean = stills.mean(axis=0)
    deviations = stills - mean
    spread = float(np.sqrt(np.median((deviations**2).mean(axis=1))))
    n_directions = min(_DIRECTIONS, (len(stills) - 1) // 2)
    # of [N, N], which is smaller than [D, D]: N clips, D pixels
    eigenvalues, eigenvectors = np.linalg.eigh(deviations @ deviations.T)
    eigenvalues, eigenvectors = eigenvalues[-n_directions:], eigenvectors[:, -n_directions:]
    directions = (eigenvectors / np.sqrt(np.maximum(_TINY, eigenvalues))).T @ deviations
    return _Background(mean, directions.astype(np.float32), spread)


_ALIKE = 0.98  # cosine similarity; planted copies reach 0.995 or more
_ALIKE_BUT_UNLIKELY = 0.99  # for pairs that other evidence says are different
_MOST_PARTNERS, _MOST_CHECKED = 50, 1000  # of each clip
_ROWS_AT_ONCE = 1024  # frames of one similarity product, which bounds memory

Pair = tuple[int, int]


def candidate_pairs(
    views: Sequence[Vectors],
    kinds: Sequence[Hashable],
    wanted: Callable[[int, int], bool],
    unlikely: Callable[[int, int], bool] = lambda first, second: False,
) -> list[Pair]:
    """Pairs first < second, by index, in which some frame of one resembles some frame of the other
    by more than the shared view of a fixed camera (see `StaticBackground`).

    views: float32 [F, D] of each clip, see `view_vectors`. kinds: clips of the same kind are not
    compared. wanted: whether a pair is of interest. unlikely: whether a pair needs a higher
    similarity than others.

    At most the 50 most similar partners of each clip, so that a thousand clips of one fixed camera
    do not give half a million pairs. Memory grows linearly with the number of clips, time with its
    square.
    """
    number = {kind: k for k, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = np.array([number[kind] for kind in kinds])
    stills = static_views(views)  # [N, D]
    kept: dict[Pair, bool] = {}
    for clip, similarity in _best_similarity(views):
        similar = np.flatnonzero(similarity >= _ALIKE)
        similar = similar[similar != clip]  # a clip is most similar to itself
        similar = similar[np.argsort(-similarity[similar], kind="stable")]
        background = StaticBackground(views, stills, clip, similar)
        tried = 0
        partners = similar[kind_of[similar] != kind_of[clip]][:_MOST_CHECKED]
        for other in map(int, partners):
            pair = min(clip, other), max(clip, other)
            similar_enough = similarity[other] >= _ALIKE_BUT_UNLIKELY or not unlikely(*pair)
            if similar_enough and wanted(*pair):
                tried += 1
                # each clip has its own background; one that does not separate the two is enough
                kept[pair] = kept.get(pair, False) or not background.distinguishes(other)
            if tried == _MOST_PARTNERS:  # a fixed camera gives thousands of similar pairs
                break
    return sorted(pair for pair, candidate in kept.items() if candidate)


def _best_similarity(
    views: Sequence[Vectors],
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """(clip, float32 [N]): the highest cosine similarity of any of its frames to any frame of each
    clip, −1 for clips without frames."""
    counts = np.array([each.shape[0] for each in views], int)
    with_frames = np.flatnonzero(counts)
    if not with_frames.size:
        return
    all_frames = unit(np.concatenate([views[int(k)] for k in with_frames]))
    begins = np.concatenate([[0], np.cumsum(counts[with_frames])[:-1]])
    for batch in _view_batches(with_frames, counts):
        # [frames of the batch, all frames]
        block = unit(np.concatenate([views[int(k)] for k in batch])) @ all_frames.T
        across = np.maximum.reduceat(block, begins, axis=1)  # [frames of the batch, clips]
        own_begins = np.concatenate([[0], np.cumsum(counts[batch])[:-1]])
        for clip, best in zip(batch, np.maximum.reduceat(across, own_begins, axis=0), strict=True):
            similarity = np.full(len(views), -1.0, np.float32)
            similarity[with_frames] = best
            yield int(clip), similarity


def _view_batches(
    clips: npt.NDArray[np.intp], counts: npt.NDArray[np.int_]
) -> list[npt.NDArray[np.intp]]:
    """The clips in batches of about _ROWS_AT_ONCE frames, so that products fit into memory."""
    batch = np.cumsum(counts[clips]) // _ROWS_AT_ONCE  # a clip's frames stay in one batch
    return [clips[batch == number] for number in np.unique(batch)]


@dataclass(frozen=True)
class PictureMatch:
    """Clips by index; the second one starts at match.offset_s in the first."""

    first: int
    second: int
    match: MotionMatch


def match_pictures(
    rows: Sequence[ManifestRow],
    pairs: Sequence[Pair],
    content: Mapping[str, str],
    config: Config,
    progress: ProgressReporter,
) -> list[PictureMatch]:
    """The candidate pairs that show the same recording, decided by comparing their motion.

    content: {path: an identifier of the file's content}; equal files are decoded once.
    """
    part_of = {
        k: (content[rows[k].path], rows[k].start_s, rows[k].end_s) for pair in pairs for k in pair
    }
    row_of: dict[object, ManifestRow] = {}
    for k in sorted(part_of):
        row_of.setdefault(part_of[k], rows[k])  # equal parts of equal files are decoded once
    signatures = _read_motion(list(row_of.values()), config, progress)
    signature_of = dict(zip(row_of, signatures, strict=True))
    found = []
    for first, second in pairs:
        first_motion, second_motion = signature_of[part_of[first]], signature_of[part_of[second]]
        # cheap test before the correlation at every offset
        if (
            first_motion is not None
            and second_motion is not None
            and may_match(first_motion, second_motion)
        ):
            match = match_motion(first_motion, second_motion)
            if match.same:
                found.append(PictureMatch(first, second, match))
    return found


def _read_motion(
    rows: Sequence[ManifestRow], config: Config, progress: ProgressReporter
) -> list[MotionSignature | None]:
    """Motion signature of each row, None if its file can no longer be decoded."""
    progress.start("comparing motion of similar clips", len(rows))
    jobs = [
        MotionJob(row.path, row.start_s, row.end_s, row.rotation_deg or 0, config.limits)
        for row in rows
    ]
    signatures: list[MotionSignature | None] = []
    with DecodePool(config.classify.workers) as pool:
        for _, answer in pool.run(jobs):  # in the order of the jobs
            signatures.append(
                MotionSignature(answer.frames) if isinstance(answer, MotionFrames) else None
            )
            progress.advance(1, failed=signatures[-1] is None)
    progress.finish()
    failed = signatures.count(None)
    if failed:
        progress.note(
            f"{counted(failed, 'clip')} left out of the motion comparison: the file can no longer "
            "be decoded"
        )
    return signatures


_PARTS = 3  # overlapping bit ranges of each hash; a copy keeps some of them unchanged
_LEAST_BITS, _MOST_BITS = 16, 24  # of a part; more in larger sets, which match more by chance
_BY_CHANCE = 8  # entries that share one part by chance, on average
_NEIGHBOURS = 64  # an entry is compared with so many later ones of the same part
_LEAST_SHARED = 3  # parts that a pair must share at one offset
_OFFSET_STEP = 2  # hashes; offsets are counted in bins of this width
_TRIED_AROUND = 3  # hashes either side of a binned offset
_ENTRIES_AT_ONCE, _OF_ONE_CLIP = 1 << 17, 1 << 19  # bound memory

# Measured on 400 recordings and 80 planted copies: copies agree by 0.60 or more, other pairs with
# at least a second in common by 0.25 at most.
_AGREES, _AGREES_SHORT = 0.4, 0.6
_LONG_S, _SHORT_S = 1.2, 0.3
# seconds, audible share, and partners of a clip that match by a short sound in silence
_OF_DEVICE_S, _QUIET, _MOST_SHORT = 3.0, 0.75, 1

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AudioMatch:
    """Clips by index; the second one starts at offset_s in the first. audible_s: of the overlap."""

    first: int
    second: int
    offset_s: float
    agreement: float
    audible_s: float


def match_audio(
    prints: Sequence[AudioFingerprint], wanted: Callable[[int, int], bool]
) -> Iterator[AudioMatch]:
    """Pairs first < second with the same sound. wanted: whether a pair is of interest.

    A short sound in otherwise silent clips that matches three recordings or more comes from the
    device (for example a beep at the start) and does not count.
    """
    # a short common sound is only suspicious in an otherwise silent clip
    quiet = [each.audible.sum() < _QUIET * each.audible.size for each in prints]
    short: list[AudioMatch] = []
    partners: Counter[int] = Counter()
    for same in _audio_matches(prints, wanted):
        if same.audible_s >= _OF_DEVICE_S or not (quiet[same.first] and quiet[same.second]):
            yield same
        else:
            short.append(same)
            # counted over all pairs first, so short matches are yielded at the end
            partners.update((same.first, same.second))
    for same in short:
        if max(partners[same.first], partners[same.second]) <= _MOST_SHORT:
            yield same


def _audio_matches(
    prints: Sequence[AudioFingerprint], wanted: Callable[[int, int], bool]
) -> Iterator[AudioMatch]:
    for first, second, offset in _candidates(prints):
        if not wanted(first, second):
            continue
        found = [
            (*agreement(prints[first], prints[second], offset + near), offset + near)
            for near in range(-_TRIED_AROUND, _TRIED_AROUND + 1)
        ]
        agreed, audible_s, best = max(found)  # the highest agreement wins, then the longest overlap
        if agreed >= (_AGREES if audible_s >= _LONG_S else _AGREES_SHORT) and audible_s >= _SHORT_S:
            yield AudioMatch(first, second, best * HASH_HOP_S, agreed, audible_s)


def _candidates(prints: Sequence[AudioFingerprint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, offset in hashes) of pairs that share enough parts at one offset."""
    entries = _index(prints)
    longest = 2 * max((each.hashes.size for each in prints), default=0) + 2 * _OFFSET_STEP
    # pair and offset are packed into one int64 code
    span, middle = longest // _OFFSET_STEP + 2, longest // _OFFSET_STEP // 2 + 1
    shared = [_shared_parts(entries, some, len(prints), span, middle) for some in _batches(entries)]
    if not shared:
        return
    codes, counts = (np.concatenate(each) for each in zip(*shared, strict=True))
    yielded: set[int] = set()
    # most shared parts first, so each pair is tried at its best offset
    for k in np.lexsort((codes, -counts)):
        pair, cell = divmod(int(codes[k]), span)
        if pair not in yielded:
            yielded.add(pair)
            yield pair // len(prints), pair % len(prints), (cell - middle) * _OFFSET_STEP


@dataclass(frozen=True)
class _Entries:
    """Inverted index [N]: audible parts unlike the one before, sorted by part, then clip."""

    parts: npt.NDArray[np.int32]
    clips: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]


def _batches(entries: _Entries) -> Iterator[Integers]:
    """Indices of entries, clip by clip, in batches whose matches fit into memory."""
    by_clip = np.argsort(entries.clips, kind="stable")
    ends = np.cumsum(np.bincount(entries.clips))
    begin = 0
    while begin < by_clip.size:
        most = np.searchsorted(ends, begin + _ENTRIES_AT_ONCE, side="right")
        # at least one clip, even if it alone exceeds the limit
        end = int(ends[max(most - 1, np.searchsorted(ends, begin, side="right"))])
        yield by_clip[begin:end]
        begin = end


def _shared_parts(
    entries: _Entries, entry_ids: Integers, n_clips: int, span: int, middle: int
) -> tuple[Integers, Integers]:
    """(codes of pair and offset, counts) of parts that these entries share with later ones.

    Only codes with at least _LEAST_SHARED parts. The codes of a very long clip are counted in
    several passes, one per remainder, to bound memory.
    """
    # entries are sorted by part, so the searches below need sorted ids
    entry_ids = np.sort(entry_ids)
    n_passes = -(-entry_ids.size // _OF_ONE_CLIP)
    found = []
    for one_pass in range(n_passes):
        codes = [entry_ids[:0]]
        same_part = entry_ids
        # compares entry i with i + lag, all entries at once
        for lag in range(1, min(_NEIGHBOURS + 1, entries.parts.size)):
            same_part = same_part[: np.searchsorted(same_part, entries.parts.size - lag)]
            same_part = same_part[
                entries.parts[same_part + lag] == entries.parts[same_part]
            ]  # equal parts are adjacent
            first = same_part[entries.clips[same_part + lag] != entries.clips[same_part]]
            pair = entries.clips[first].astype(np.int64) * n_clips + entries.clips[first + lag]
            offset = (entries.places[first] - entries.places[first + lag]) // _OFFSET_STEP
            code = pair * span + offset + middle
            # each pass counts the codes of one remainder, so none is split
            codes.append(code[code % n_passes == one_pass] if n_passes > 1 else code)
        each, counts = np.unique(np.concatenate(codes), return_counts=True)
        found.append((each[counts >= _LEAST_SHARED], counts[counts >= _LEAST_SHARED]))
    return np.concatenate([each for each, _ in found]), np.concatenate([n for _, n in found])


def _index(prints: Sequence[AudioFingerprint]) -> _Entries:
    """The index over all clips.

    Parts that occur in many clips (a steady tone, a hundred copies) are later compared with their
    next neighbours only, which is enough to link the copies.
    """
    n_words = sum(int(clip.audible.sum()) for clip in prints)
    bits = int(np.clip(np.ceil(np.log2(max(1, n_words / _BY_CHANCE))), _LEAST_BITS, _MOST_BITS))
    begins = np.linspace(0, 32 - bits, _PARTS).round().astype(int)  # first bit of each part
    parts, clips, places = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for number, clip in enumerate(prints):
        for k, begin in enumerate(begins):
            # the part's number keeps equal bits at other positions apart
            part = (clip.hashes >> begin & (2**bits - 1)).astype(np.int32) + (k << bits)
            new = clip.audible.copy()
            # a steady tone repeats one part for seconds; it counts once
            new[1:] &= part[1:] != part[:-1]
            parts.append(part[new])
            places.append(np.flatnonzero(new).astype(np.int32))
            clips.append(np.full(places[-1].size, number, np.int32))
    all_parts = np.concatenate(parts)
    del parts  # frees memory before the sort
    order = np.argsort(all_parts, kind="stable")  # stable: keeps clip order within a part
    return _Entries(all_parts[order], np.concatenate(clips)[order], np.concatenate(places)[order])
