"""What the clips of one fixed camera have in common, and whether two are alike beyond that.

Such clips look alike whatever they show. Taking away what the others share (their mean, and the
directions in which they mostly differ: time of day, weather) leaves what two recordings have of
their own, and a copy has that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.thumbnail import Vectors, unit

_LEAST, _MOST = 5, 24  # other clips that the common is taken from
_DIRECTIONS = 4
_CODING = 1.5  # grey levels; clips that differ by less may be copies of one, apart by coding alone
_FAINT = 0.7  # grey levels; what is left of a frame may be coding alone
_ALIKE = 0.4  # measured on 180 clips of fixed cameras: planted copies from 0.5 on
_TINY = 1e-6


def stills_of(views: Sequence[Vectors]) -> Vectors:
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


class Backdrop:
    """What is common to those clips that look most like one clip."""

    def __init__(
        self, views: Sequence[Vectors], stills: Vectors, clip: int, likest: npt.NDArray[np.intp]
    ) -> None:
        """likest: the clips that look like it, by number, the likest first."""
        self._views, self._stills, self._own = views, stills, views[clip]
        self._likest = list(map(int, likest[: _MOST + 1]))
        self._of_all: _Common | None = None

    def tells_apart(self, other: int) -> bool:
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
        return float((unit(left) @ unit(others).T).max()) < _ALIKE

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
