"""Find pairs of clips with the same content: the same sound, or otherwise the same picture.

Sound: clips whose audio hashes agree at one time offset. The candidates are found by an inverted
index of parts of hashes, then verified bit by bit. Picture: clips with similar thumbnails are
decoded again and compared by what moves in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from data_prep.fingerprints.thumbnail import Vectors, unit, view_vectors
from data_prep.manifest import ManifestRow
from data_prep.worker.protocol import MotionJob
from pipeline.config import Config
from pipeline.features.decode_pool import DecodePool
from pipeline.leak_audit.clip_fingerprint import ClipFingerprint
from pipeline.leak_audit.duplicate_candidates import Pair, candidate_pairs
from pipeline.leak_audit.findings import Finding, Kind, of_interest
from pipeline.reporter import ProgressReporter
from pipeline.text_format import counted


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
    """Motion signature of each row, None where its file can no longer be decoded."""
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
    """Clips by index; the second one starts at offset_s in the first. heard_s: audible overlap."""

    first: int
    second: int
    offset_s: float
    agreement: float
    heard_s: float


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
        if same.heard_s >= _OF_DEVICE_S or not (quiet[same.first] and quiet[same.second]):
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
        agreed, heard_s, best = max(found)  # the highest agreement wins, then the longest overlap
        if agreed >= (_AGREES if heard_s >= _LONG_S else _AGREES_SHORT) and heard_s >= _SHORT_S:
            yield AudioMatch(first, second, best * HASH_HOP_S, agreed, heard_s)


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
        # at least one clip, even where it alone exceeds the limit
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


_SURELY_HEARD_S = 1.5  # audible sound needed to say that two clips sound different
_NOT_DIFFERENT = 0.5  # three in four pairs of unrelated scenes are below, few of one scene


def match_content(
    seen: Sequence[ClipFingerprint],
    content: Mapping[str, str],
    config: Config,
    progress: ProgressReporter,
) -> Iterator[Finding]:
    """Findings for pairs of interest between different files; each pair at most once.

    content: {path: an identifier of the file's content}, see `recordings.contents`.
    """
    pair_filter = _PairFilter(seen, content)
    rows = [each.row for each in seen]
    for sound in match_audio([each.audio for each in seen], pair_filter.wanted):
        pair_filter.same_sound.add((sound.first, sound.second))
        dubbed = pair_filter.picture_different(sound.first, sound.second)
        under = " under another picture" if dubbed else ""
        yield Finding(
            Kind.SAME_SOUND, rows[sound.first], rows[sound.second], sound.offset_s, sound.agreement,
            f"{sound.heard_s:.1f} s of it{under}", dubbed,
        )  # fmt: skip
    # clips equal in all of these cannot leak or conflict
    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    views = [each.views for each in seen]
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
    by_time: Iterable[Finding], seen: Sequence[ClipFingerprint]
) -> Iterator[Finding]:
    """Drop the findings by recorded time whose clips look entirely different, as those of two
    cameras that were started together do."""
    views = {each.row.id: each.views for each in seen}
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

    def __init__(self, seen: Sequence[ClipFingerprint], content: Mapping[str, str]) -> None:
        self._clips, self._content = seen, content
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
        return all(self._clips[k].audio.audible_s >= _SURELY_HEARD_S for k in (first, second))

    def picture_different(self, first: int, second: int) -> bool:
        return _look_different(self._clips[first].views, self._clips[second].views)
