"""Pairs of clips that show the same recording: alike at first sight, then looked at closely."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.dataset.manifest import ManifestRow
from data_prep.fingerprints.closer_look import Look
from data_prep.fingerprints.motion import MotionMatch, match_motion, may_match
from data_prep.fingerprints.moving import Moving
from data_prep.fingerprints.thumbnail import Vectors
from data_prep.process.protocol import LookJob
from pipeline.config import Config
from pipeline.decoding.decode_pool import DecodePool
from pipeline.reporting import Reporter

_ALIKE = 0.98  # planted copies: from 0.995 on
_MOST_PARTNERS = 50
_ROWS_AT_ONCE = 1024

Pair = tuple[int, int]


@dataclass(frozen=True)
class SamePicture:
    """Clips by number; the second one's beginning lies at match.offset_s in the first."""

    first: int
    second: int
    match: MotionMatch


def alike_pairs(
    views: Sequence[Vectors], kinds: Sequence[Hashable], wanted: Callable[[int, int], bool]
) -> list[Pair]:
    """Pairs first < second in which some frame looks like some frame of the other, by number.

    kinds: clips of one kind are not compared; wanted: whether any other pair is of interest.

    Of each clip the 50 likest partners, so that a thousand clips of one fixed camera do not make
    half a million pairs. Memory grows with the number of clips, time with its square.
    """
    number = {kind: k for k, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = np.array([number[kind] for kind in kinds])
    pairs: set[Pair] = set()
    for clip, likeness in _best_likeness(views):
        taken = 0
        alike = np.flatnonzero((likeness >= _ALIKE) & (kind_of != kind_of[clip]))
        for other in map(int, alike[np.argsort(-likeness[alike], kind="stable")]):
            pair = min(clip, other), max(clip, other)
            if wanted(*pair):
                pairs.add(pair)
                taken += 1
            if taken == _MOST_PARTNERS:
                break
    return sorted(pairs)


def _best_likeness(
    views: Sequence[Vectors],
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """(clip, [N]: the greatest product of one of its frames with a frame of each other clip, −1 for
    clips without frames)."""
    counts = np.array([each.shape[0] for each in views], int)
    with_frames = np.flatnonzero(counts)
    if not with_frames.size:
        return
    every = np.concatenate([views[int(k)] for k in with_frames])
    begins = np.concatenate([[0], np.cumsum(counts[with_frames])[:-1]])
    for some in _in_bunches(with_frames, counts):
        block = np.concatenate([views[int(k)] for k in some]) @ every.T
        across = np.maximum.reduceat(block, begins, axis=1)
        mine = np.concatenate([[0], np.cumsum(counts[some])[:-1]])
        for clip, best in zip(some, np.maximum.reduceat(across, mine, axis=0), strict=True):
            likeness = np.full(len(views), -1.0, np.float32)
            likeness[with_frames] = best
            yield int(clip), likeness


def _in_bunches(
    clips: npt.NDArray[np.intp], counts: npt.NDArray[np.int_]
) -> list[npt.NDArray[np.intp]]:
    """The clips in bunches of not too many frames, so that products fit into memory."""
    bunch = np.cumsum(counts[clips]) // _ROWS_AT_ONCE
    return [clips[bunch == number] for number in np.unique(bunch)]


def same_pictures(
    rows: Sequence[ManifestRow], pairs: Sequence[Pair], config: Config, report: Reporter
) -> list[SamePicture]:
    """Those of the pairs that show one recording: what moves in both is compared."""
    moving = _looked_at(rows, sorted({k for pair in pairs for k in pair}), config, report)
    found = []
    for first, second in pairs:
        if first in moving and second in moving and may_match(moving[first], moving[second]):
            match = match_motion(moving[first], moving[second])
            if match.same:
                found.append(SamePicture(first, second, match))
    return found


def _looked_at(
    rows: Sequence[ManifestRow], clips: Sequence[int], config: Config, report: Reporter
) -> dict[int, Moving]:
    report.start("looking closer at clips that look alike", len(clips))
    jobs = [
        LookJob(rows[k].path, rows[k].start_s, rows[k].rotation_deg or 0, config.limits)
        for k in clips
    ]
    moving = {}
    with DecodePool(config.classify.workers) as pool:
        for k, (_, answer) in zip(clips, pool.run(jobs), strict=True):
            if isinstance(answer, Look):
                moving[k] = Moving(answer.frames)
            report.advance(1, failed=not isinstance(answer, Look))
    report.finish()
    return moving
