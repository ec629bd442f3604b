"""What the clips of one fixed camera have in common, and whether two are alike beyond that.

Such clips look alike whatever they show. Taking away what the others share (their mean, and the
directions in which they mostly differ: time of day, weather) leaves what two recordings have of
their own, and a copy has that too.

Pairs of clips that look alike at first sight, by a few small frames of each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.thumbnail import Vectors, unit

_LEAST, _MOST = 5, 24  # other clips that the common is taken from
_DIRECTIONS = 4
_CODING = 1.5  # grey levels; clips that differ by less may be copies of one, apart by coding alone
_FAINT = 0.7  # grey levels; what is left of a frame may be coding alone
_SAME_BACKGROUND = 0.4  # measured on 180 clips of fixed cameras: planted copies from 0.5 on
_TINY = 1e-6


def static_views(views: Sequence[Vectors]) -> Vectors:
    """[N, D]: each clip's median frame; zeros for a clip without frames."""
    stills = np.zeros((len(views), max((v.shape[1] for v in views), default=0)), np.float32)
    for still, own in zip(stills, views, strict=True):
        if own.shape[0]:
            still[:] = np.median(own, axis=0)
    return stills


@dataclass(frozen=True)
class _Common:
    """Of some clips: their mean [D], main directions [Q, D], and how far they lie from the mean."""

    mean: npt.NDArray[np.float32]
    directions: Vectors
    spread: float

    def taken_from(self, frames: Vectors) -> Vectors:
        left: Vectors = frames - self.mean
        left -= left @ self.directions.T @ self.directions
        return left


class StaticBackground:
    """What is common to those clips that look most like one clip."""

    def __init__(
        self, views: Sequence[Vectors], stills: Vectors, clip: int, likest: npt.NDArray[np.intp]
    ) -> None:
        """likest: the clips that look like it, by number, the likest first."""
        self._views, self._stills, self._own = views, stills, views[clip]
        self._likest = list(map(int, likest[: _MOST + 1]))
        self._of_all: _Common | None = None

    def distinguishes(self, other: int) -> bool:
        """Whether the clip and another one are unlike but for what further clips share; false
        where too few are there, or all may be one recording."""
        if len(self._likest) - (other in self._likest) < _LEAST:
            return False
        common = self._common_without(other)
        if common.spread < _CODING:
            return False
        left, others = common.taken_from(self._own), common.taken_from(self._views[other])
        if min(_rms(left), _rms(others)) < _FAINT:
            return False
        return float((unit(left) @ unit(others).T).max()) < _SAME_BACKGROUND

    def _common_without(self, other: int) -> _Common:
        if other in self._likest:
            return _common(self._stills[[k for k in self._likest if k != other]])
        if self._of_all is None:
            self._of_all = _common(self._stills[self._likest])
        return self._of_all


def _rms(frames: Vectors) -> float:
    return float(np.sqrt((frames**2).mean(axis=1)).min())


def _common(stills: Vectors) -> _Common:
    mean = stills.mean(axis=0)
    apart = stills - mean
    spread = float(np.sqrt(np.median((apart**2).mean(axis=1))))
    n_directions = min(_DIRECTIONS, (len(stills) - 1) // 2)
    strength, mixing = np.linalg.eigh(apart @ apart.T)  # as many as clips, not as pixels
    strength, mixing = strength[-n_directions:], mixing[:, -n_directions:]
    directions = (mixing / np.sqrt(np.maximum(_TINY, strength))).T @ apart
    return _Common(mean, directions.astype(np.float32), spread)


_ALIKE = 0.98  # planted copies: from 0.995 on
_ALIKE_BUT_UNLIKELY = 0.99
_MOST_PARTNERS, _MOST_ASKED = 50, 1000
_ROWS_AT_ONCE = 1024

Pair = tuple[int, int]


def candidate_pairs(
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
    stills = static_views(views)
    judged: dict[Pair, bool] = {}
    for clip, likeness in _best_likeness(views):
        alike = np.flatnonzero(likeness >= _ALIKE)
        alike = alike[alike != clip]
        likest = alike[np.argsort(-likeness[alike], kind="stable")]
        backdrop = StaticBackground(views, stills, clip, likest)
        tried = 0
        partners = likest[kind_of[likest] != kind_of[clip]][:_MOST_ASKED]
        for other in map(int, partners):
            pair = min(clip, other), max(clip, other)
            enough = likeness[other] >= _ALIKE_BUT_UNLIKELY or not unlikely(*pair)
            if enough and wanted(*pair):
                tried += 1
                # of either clip's likest others; whichever comes first does not matter
                judged[pair] = judged.get(pair, False) or not backdrop.distinguishes(other)
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
