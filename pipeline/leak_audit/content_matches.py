"""Pairs of clips that show the same recording: clips that look alike are looked at closely.

Pairs of clips that hold the same sound, found by the words they share at one offset.

Pairs of clips of one content: of the same sound, or else of the same picture.
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
    """Clips by number; the second one's beginning lies at match.offset_s in the first."""

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
    """Those of the pairs that show one recording: what moves in both is compared.

    content: {path: a name of the file's content}; of equal files one is decoded.
    """
    look_of = {
        k: (content[rows[k].path], rows[k].start_s, rows[k].end_s) for pair in pairs for k in pair
    }
    row_of: dict[object, ManifestRow] = {}
    for k in sorted(look_of):
        row_of.setdefault(look_of[k], rows[k])
    looked_at = _read_motion(list(row_of.values()), config, progress)
    moving = dict(zip(row_of, looked_at, strict=True))
    found = []
    for first, second in pairs:
        mine, other = moving[look_of[first]], moving[look_of[second]]
        if mine is not None and other is not None and may_match(mine, other):
            match = match_motion(mine, other)
            if match.same:
                found.append(PictureMatch(first, second, match))
    return found


def _read_motion(
    rows: Sequence[ManifestRow], config: Config, progress: ProgressReporter
) -> list[MotionSignature | None]:
    """Of each row; None where its file cannot be decoded any more."""
    progress.start("looking closer at clips that look alike", len(rows))
    jobs = [
        MotionJob(row.path, row.start_s, row.end_s, row.rotation_deg or 0, config.limits)
        for row in rows
    ]
    moving: list[MotionSignature | None] = []
    with DecodePool(config.classify.workers) as pool:
        for _, answer in pool.run(jobs):
            moving.append(
                MotionSignature(answer.frames) if isinstance(answer, MotionFrames) else None
            )
            progress.advance(1, failed=moving[-1] is None)
    progress.finish()
    failed = moving.count(None)
    if failed:
        progress.note(
            "not looked at closely, because the file cannot be decoded any more: "
            f"{counted(failed, 'clip')}"
        )
    return moving


_PARTS = 3  # of each word, overlapping; a copy keeps some of them
_LEAST_BITS, _MOST_BITS = 16, 24  # of a part; more of them in larger sets, where chance is larger
_BY_CHANCE = 8  # entries of one part
_NEIGHBOURS = 64  # of an entry, among those of its part, that it is compared with
_LEAST_SHARED = 3  # parts shared at one offset
_OFFSET_STEP = 2
_TRIED_AROUND = 3
_ENTRIES_AT_ONCE, _OF_ONE_CLIP = 1 << 17, 1 << 19

# Measured on 400 recordings and 80 planted copies: copies agree from 0.60 on; of others, at a
# second and more in common, none beyond 0.25.
_AGREES, _AGREES_SHORT = 0.4, 0.6
_LONG_S, _SHORT_S = 1.2, 0.3
_OF_DEVICE_S, _QUIET, _MOST_SHORT = 3.0, 0.75, 1  # partners of a clip by a short sound in silence

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AudioMatch:
    """Clips by number; the second one's beginning lies at offset_s in the first."""

    first: int
    second: int
    offset_s: float
    agreement: float
    heard_s: float


def match_audio(
    prints: Sequence[AudioFingerprint], wanted: Callable[[int, int], bool]
) -> Iterator[AudioMatch]:
    """Pairs first < second that hold the same sound. wanted: whether a pair is of interest.

    Where a short sound in silence is all that is heard of three recordings and more, it is their
    device's (a beep at the start, say), and makes them no one recording.
    """
    quiet = [each.audible.sum() < _QUIET * each.audible.size for each in prints]
    short: list[AudioMatch] = []
    partners: Counter[int] = Counter()
    for same in _same(prints, wanted):
        if same.heard_s >= _OF_DEVICE_S or not (quiet[same.first] and quiet[same.second]):
            yield same
        else:
            short.append(same)
            partners.update((same.first, same.second))
    for same in short:
        if max(partners[same.first], partners[same.second]) <= _MOST_SHORT:
            yield same


def _same(
    prints: Sequence[AudioFingerprint], wanted: Callable[[int, int], bool]
) -> Iterator[AudioMatch]:
    for first, second, offset in _candidates(prints):
        if not wanted(first, second):
            continue
        found = [
            (*agreement(prints[first], prints[second], offset + near), offset + near)
            for near in range(-_TRIED_AROUND, _TRIED_AROUND + 1)
        ]
        agreed, heard_s, best = max(found)
        if agreed >= (_AGREES if heard_s >= _LONG_S else _AGREES_SHORT) and heard_s >= _SHORT_S:
            yield AudioMatch(first, second, best * HASH_HOP_S, agreed, heard_s)


def _candidates(prints: Sequence[AudioFingerprint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, offset in words) of pairs that share enough parts of words at one offset."""
    entries = _entries(prints)
    longest = 2 * max((each.hashes.size for each in prints), default=0) + 2 * _OFFSET_STEP
    span, middle = longest // _OFFSET_STEP + 2, longest // _OFFSET_STEP // 2 + 1
    shared = [_shared(entries, some, len(prints), span, middle) for some in _bunches(entries)]
    if not shared:
        return
    codes, counts = (np.concatenate(each) for each in zip(*shared, strict=True))
    told: set[int] = set()
    for k in np.lexsort((codes, -counts)):
        pair, cell = divmod(int(codes[k]), span)
        if pair not in told:
            told.add(pair)
            yield pair // len(prints), pair % len(prints), (cell - middle) * _OFFSET_STEP


@dataclass(frozen=True)
class _Entries:
    """Every part of a word that is heard and new, sorted by part, then clip; [N] each."""

    parts: npt.NDArray[np.int32]
    clips: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]


def _bunches(entries: _Entries) -> Iterator[Integers]:
    """Numbers of entries, by clip, so few at a time that what they share fits into memory."""
    by_clip = np.argsort(entries.clips, kind="stable")
    ends = np.cumsum(np.bincount(entries.clips))
    begin = 0
    while begin < by_clip.size:
        most = np.searchsorted(ends, begin + _ENTRIES_AT_ONCE, side="right")
        end = int(ends[max(most - 1, np.searchsorted(ends, begin, side="right"))])
        yield by_clip[begin:end]
        begin = end


def _shared(
    entries: _Entries, some: Integers, n_clips: int, span: int, middle: int
) -> tuple[Integers, Integers]:
    """(codes of a pair and an offset, counts) that some entries share often enough with later ones.

    Those of one very long clip are counted in turns, each time codes of one remainder.
    """
    some = np.sort(some)
    n_turns = -(-some.size // _OF_ONE_CLIP)
    found = []
    for turn in range(n_turns):
        codes = [some[:0]]
        alike = some
        for lag in range(1, min(_NEIGHBOURS + 1, entries.parts.size)):
            alike = alike[: np.searchsorted(alike, entries.parts.size - lag)]
            alike = alike[entries.parts[alike + lag] == entries.parts[alike]]  # they lie together
            first = alike[entries.clips[alike + lag] != entries.clips[alike]]
            pair = entries.clips[first].astype(np.int64) * n_clips + entries.clips[first + lag]
            offset = (entries.places[first] - entries.places[first + lag]) // _OFFSET_STEP
            code = pair * span + offset + middle
            codes.append(code[code % n_turns == turn] if n_turns > 1 else code)
        each, counts = np.unique(np.concatenate(codes), return_counts=True)
        found.append((each[counts >= _LEAST_SHARED], counts[counts >= _LEAST_SHARED]))
    return np.concatenate([each for each, _ in found]), np.concatenate([n for _, n in found])


def _entries(prints: Sequence[AudioFingerprint]) -> _Entries:
    """Of all clips.

    Parts that occur in many clips, as of a steady tone or a hundred copies, are compared with their
    next neighbours only, which is enough to join the copies.
    """
    n_words = sum(int(each.audible.sum()) for each in prints)
    bits = int(np.clip(np.ceil(np.log2(max(1, n_words / _BY_CHANCE))), _LEAST_BITS, _MOST_BITS))
    begins = np.linspace(0, 32 - bits, _PARTS).round().astype(int)
    parts, clips, places = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for number, each in enumerate(prints):
        for k, begin in enumerate(begins):
            part = (each.hashes >> begin & (2**bits - 1)).astype(np.int32) + (k << bits)
            new = each.audible.copy()
            new[1:] &= part[1:] != part[:-1]
            parts.append(part[new])
            places.append(np.flatnonzero(new).astype(np.int32))
            clips.append(np.full(places[-1].size, number, np.int32))
    all_parts = np.concatenate(parts)
    del parts
    order = np.argsort(all_parts, kind="stable")  # stable: clips stay in the order they were taken
    return _Entries(all_parts[order], np.concatenate(clips)[order], np.concatenate(places)[order])


_SURELY_HEARD_S = 1.5
_NOT_DIFFERENT = 0.5  # of clips of unrelated scenes three in four are below, of one scene few


def match_content(
    seen: Sequence[ClipFingerprint],
    content: Mapping[str, str],
    config: Config,
    progress: ProgressReporter,
) -> Iterator[Finding]:
    """Pairs of interest of different files. content: {path: a name of the file's content}."""
    clips = _Clips(seen, content)
    rows = [each.row for each in seen]
    for same in match_audio([each.audio for each in seen], clips.wanted):
        clips.heard.add((same.first, same.second))
        dubbed = clips.picture_different(same.first, same.second)
        under = " under another picture" if dubbed else ""
        yield Finding(
            Kind.SAME_SOUND, rows[same.first], rows[same.second], same.offset_s, same.agreement,
            f"{same.heard_s:.1f} s of it{under}", dubbed,
        )  # fmt: skip
    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    views = [each.views for each in seen]
    pairs = candidate_pairs(views, kinds, clips.unheard, clips.sound_different)
    for found in match_pictures(rows, pairs, content, config, progress) if pairs else ():
        dubbed = clips.sound_different(found.first, found.second)
        yield Finding(
            Kind.SAME_PICTURE, rows[found.first], rows[found.second], found.match.offset_s,
            found.match.score, "under another sound" if dubbed else "", dubbed,
        )  # fmt: skip


def plausible_time_matches(
    by_time: Iterable[Finding], seen: Sequence[ClipFingerprint]
) -> Iterator[Finding]:
    """Those findings by time alone whose clips do not look wholly different, as those of two
    cameras that were started together do."""
    views = {each.row.id: each.views for each in seen}
    nothing = view_vectors([])
    for finding in by_time:
        ends = (views.get(row.id, nothing) for row in (finding.first, finding.second))
        if not _look_different(*ends):
            yield finding


def _look_different(first: Vectors, second: Vectors) -> bool:
    """Whether both have pictures, and none of one is anything like one of the other."""
    if not first.size or not second.size:
        return False
    return float((unit(first) @ unit(second).T).max()) < _NOT_DIFFERENT


class _Clips:
    """Which pairs of clips, by number, are worth comparing."""

    def __init__(self, seen: Sequence[ClipFingerprint], content: Mapping[str, str]) -> None:
        self._seen, self._content = seen, content
        self.heard: set[Pair] = set()
        """Pairs found to have the same sound."""

    def wanted(self, first: int, second: int) -> bool:
        a, b = self._seen[first].row, self._seen[second].row
        # of equal bytes, what there is to know is known: two moments of one file are no copy
        return self._content[a.path] != self._content[b.path] and of_interest(a, b)

    def unheard(self, first: int, second: int) -> bool:
        return (first, second) not in self.heard and self.wanted(first, second)

    def sound_different(self, first: int, second: int) -> bool:
        """Of a pair not heard to be the same: whether there was enough to hear. Such are two
        recordings, unless one was dubbed."""
        return all(self._seen[k].audio.audible_s >= _SURELY_HEARD_S for k in (first, second))

    def picture_different(self, first: int, second: int) -> bool:
        return _look_different(self._seen[first].views, self._seen[second].views)
