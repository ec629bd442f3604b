"""Find candidate duplicates: pairs of clips with similar thumbnails.

Clips of one fixed camera look similar whatever they show. Removing what they share (their mean and
their main directions of variation, such as time of day and weather) leaves what is specific to one
recording, which a copy shares too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.thumbnail import Vectors, unit

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
        self, views: Sequence[Vectors], stills: Vectors, clip: int, likest: npt.NDArray[np.intp]
    ) -> None:
        """likest: indices of the clips similar to `clip`, the most similar first."""
        self._views, self._stills, self._own = views, stills, views[clip]
        self._likest = list(map(int, likest[: _MOST_CLIPS + 1]))
        self._of_all: _Background | None = None

    def distinguishes(self, other: int) -> bool:
        """Whether the clip and another one differ once the shared background is removed.

        False where there are too few clips to tell, or where all may be one recording.
        """
        # the other clip must not help to explain itself away
        if len(self._likest) - (other in self._likest) < _LEAST_CLIPS:
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
        if other in self._likest:
            return _estimate_background(self._stills[[k for k in self._likest if k != other]])
        if self._of_all is None:  # the same for every dissimilar clip, so computed once
            self._of_all = _estimate_background(self._stills[self._likest])
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
_MOST_PARTNERS, _MOST_ASKED = 50, 1000  # of each clip
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
    for clip, likeness in _best_likeness(views):
        similar = np.flatnonzero(likeness >= _ALIKE)
        similar = similar[similar != clip]  # a clip is most similar to itself
        likest = similar[np.argsort(-likeness[similar], kind="stable")]
        background = StaticBackground(views, stills, clip, likest)
        tried = 0
        partners = likest[kind_of[likest] != kind_of[clip]][:_MOST_ASKED]
        for other in map(int, partners):
            pair = min(clip, other), max(clip, other)
            similar_enough = likeness[other] >= _ALIKE_BUT_UNLIKELY or not unlikely(*pair)
            if similar_enough and wanted(*pair):
                tried += 1
                # each clip has its own background; one that does not separate the two is enough
                kept[pair] = kept.get(pair, False) or not background.distinguishes(other)
            if tried == _MOST_PARTNERS:  # a fixed camera gives thousands of similar pairs
                break
    return sorted(pair for pair, candidate in kept.items() if candidate)


def _best_likeness(
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
    for batch in _batches(with_frames, counts):
        # [frames of the batch, all frames]
        block = unit(np.concatenate([views[int(k)] for k in batch])) @ all_frames.T
        across = np.maximum.reduceat(block, begins, axis=1)  # [frames of the batch, clips]
        own_begins = np.concatenate([[0], np.cumsum(counts[batch])[:-1]])
        for clip, best in zip(batch, np.maximum.reduceat(across, own_begins, axis=0), strict=True):
            likeness = np.full(len(views), -1.0, np.float32)
            likeness[with_frames] = best
            yield int(clip), likeness


def _batches(
    clips: npt.NDArray[np.intp], counts: npt.NDArray[np.int_]
) -> list[npt.NDArray[np.intp]]:
    """The clips in batches of about _ROWS_AT_ONCE frames, so that products fit into memory."""
    batch = np.cumsum(counts[clips]) // _ROWS_AT_ONCE  # a clip's frames stay in one batch
    return [clips[batch == number] for number in np.unique(batch)]
