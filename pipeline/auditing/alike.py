"""Pairs of clips that look alike at first sight, by a few small frames of each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.thumbnail import Vectors, unit
from pipeline.auditing.backdrop import Backdrop, stills_of

_ALIKE = 0.98  # planted copies: from 0.995 on
_ALIKE_BUT_UNLIKELY = 0.99
_MOST_PARTNERS, _MOST_ASKED = 50, 1000
_ROWS_AT_ONCE = 1024

Pair = tuple[int, int]


def alike_pairs(
    views: Sequence[Vectors],
    kinds: Sequence[Hashable],
    wanted: Callable[[int, int], bool],
    unlikely: Callable[[int, int], bool] = lambda first, second: False,
) -> list[Pair]:
    """Pairs first < second in which some frame looks like some frame of the other, by number, and
    not only as all clips of one camera do (see `backdrop`).

    views: see `view_vectors`; kinds: clips of one kind are not compared; wanted: whether any other
    pair is of interest; unlikely: whether the two must look alike more than others must.

    Of each clip the 50 likest partners, so that a thousand clips of one fixed camera do not make
    half a million pairs. Memory grows with the number of clips, time with its square.
    """
    number = {kind: k for k, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = np.array([number[kind] for kind in kinds])
    stills = stills_of(views)
    judged: dict[Pair, bool] = {}
    for clip, likeness in _best_likeness(views):
        alike = np.flatnonzero(likeness >= _ALIKE)
        alike = alike[alike != clip]
        likest = alike[np.argsort(-likeness[alike], kind="stable")]
        backdrop = Backdrop(views, stills, clip, likest)
        tried = 0
        partners = likest[kind_of[likest] != kind_of[clip]][:_MOST_ASKED]
        for other in map(int, partners):
            pair = min(clip, other), max(clip, other)
            enough = likeness[other] >= _ALIKE_BUT_UNLIKELY or not unlikely(*pair)
            if enough and wanted(*pair):
                tried += 1
                # of either clip's likest others; whichever comes first does not matter
                judged[pair] = judged.get(pair, False) or not backdrop.tells_apart(other)
            if tried == _MOST_PARTNERS:
                break
    return sorted(pair for pair, together in judged.items() if together)


def _best_likeness(
    views: Sequence[Vectors],
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """(clip, [N]: the greatest product of one of its frames with a frame of each other clip, −1 for
    clips without frames)."""
    counts = np.array([each.shape[0] for each in views], int)
    with_frames = np.flatnonzero(counts)
    if not with_frames.size:
        return
    every = unit(np.concatenate([views[int(k)] for k in with_frames]))
    begins = np.concatenate([[0], np.cumsum(counts[with_frames])[:-1]])
    for some in _in_bunches(with_frames, counts):
        block = unit(np.concatenate([views[int(k)] for k in some])) @ every.T
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
