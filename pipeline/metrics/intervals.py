"""Intervals of scores: how far they would vary with other recordings of the same kind.

Clips of one group (a camera, a day) are right or wrong together, so it is groups that are counted.
A score that is a ratio of sums over groups is linearised, groups' residuals give its variance, and
that is worth so many independent clips; Wilson's interval of that many follows. Checked by
simulation (benchmarks/studies/COVERAGE.md): with 20 groups and more the true value lies inside in 92 to 98
of 100 cases, a little more often with few errors. The percentile bootstrap over groups, also shown
there, reaches 50 to 95.

Sources: linearisation and effective size, Korn and Graubard, "Confidence intervals for proportions
with small expected number of positive counts" (1998); residuals divided by the square root of what
their group leaves to others, Bell and McCaffrey (2002); number of groups that equal ones would be,
Kish (1965); Wilson (1927); half a pair added to each side of a difference, Agresti and Min (2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

LEAST_GROUPS = 3
"""With fewer there is no interval."""
FEW_GROUPS = 20
"""With fewer an interval is wide, and what it says rests on few sources."""
UNEVEN, FEW_DECIDE = 2.5, 12
"""With so many times more groups than they weigh, and fewer that hold the mistakes (the hits, where
these are rarer), an interval may be too narrow (benchmarks/studies/COVERAGE.md)."""

LEVEL = 0.95
_FEW_ERRORS = 5.0  # with fewer, how errors cluster in groups cannot be seen

# Where a few groups are large, samples that miss an odd large one look good and calm at once. So
# what alike clips add to the variance counts for more, the more uneven groups are. Both exponents
# were chosen by simulation; groups of one size are not touched by them.
_CLUSTERED, _FREEDOM = 0.45, 0.75

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """95 % interval, or of another level."""

    low: float
    high: float


class Groups:
    """Which clips belong together. names [N]: a group for each clip."""

    def __init__(self, names: Sequence[str]) -> None:
        _, index = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
        self.index: IntArray = index.astype(np.int64)
        """[N], numbers of the clips' groups."""
        self.sizes: Array = np.bincount(self.index).astype(float)

    def __len__(self) -> int:
        return int(self.sizes.size)

    def sums(self, values: npt.ArrayLike) -> Array:
        """[N] → [G]."""
        summed = np.bincount(self.index, np.asarray(values, float), minlength=len(self))
        return np.asarray(summed, np.float64)


def even_number(sums: Array) -> float:
    """How many groups of one size would weigh as much as these [G] (Kish 1965); 0 for nothing."""
    squares = float((sums**2).sum())
    return float(sums.sum()) ** 2 / squares if squares else 0.0


def weights(right: Array, sizes: Array) -> dict[str, float]:
    """What groups weigh, [G] sums of right answers and of clips: all clips, and the rarer of
    mistakes and hits, which decide how well the score is known."""
    rarer = right if right.sum() < sizes.sum() / 2 else sizes - right
    return {"even_groups": even_number(sizes), "even_groups_deciding": even_number(rarer)}


def ratio_interval(part: Array, whole: Array, level: float = LEVEL) -> Interval | None:
    """Of sum(part) / sum(whole), both [G] sums over groups, 0 ≤ part ≤ whole.

    None where fewer than LEAST_GROUPS groups have any of the whole.
    """
    there = whole > 0
    part, whole = part[there], whole[there]
    if part.size < LEAST_GROUPS:
        return None
    total = float(whole.sum())
    ratio = float(part.sum()) / total
    influence = residuals((part - ratio * whole) / total, whole)
    return share_interval(ratio, influence, whole, level)


def f1_interval(hits: Array, true: Array, said: Array, level: float = LEVEL) -> Interval | None:
    """Of F1, by [G] sums of clips that were found, that have the label, that were given it.

    F1 = 2J / (1 + J) rises with J, the share found of all clips that have the label or were given
    it, and that is a share of clips, whose interval is known. None as in `ratio_interval`.
    """
    found = ratio_interval(hits, true + said - hits, level)
    if found is None:
        return None
    return Interval(2 * found.low / (1 + found.low), 2 * found.high / (1 + found.high))


def residuals(influence: Array, sizes: Array) -> Array:
    """[G], how each group moves a score, a large group's own taken for what it hides.

    influence [G]: of the linearised score; sizes [G]: what of the clips that count is each
    group's.
    """
    left = 1 - np.minimum(0.9, sizes / sizes.sum())
    moved: Array = influence / np.sqrt(left)
    return moved


def share_interval(
    share: float, moved: Array, sizes: Array, level: float = LEVEL
) -> Interval | None:
    """Of any score in 0 … 1 that each group moves by `moved` [G], see `residuals`; sizes [G]: what
    of the clips that count is each group's. None for fewer than LEAST_GROUPS groups."""
    if moved.size < LEAST_GROUPS:
        return None
    n_clips = float(sizes.sum())
    n_even = even_number(sizes)
    uneven = moved.size / n_even
    critical = float(student.ppf(0.5 + level / 2, max(1.0, n_even * uneven**_FREEDOM - 1)))
    alone = share * (1 - share) / n_clips
    variance = float((moved**2).sum())
    variance += max(0.0, variance - alone) * (uneven**_CLUSTERED - 1)
    worth = _worth(share, variance, n_clips, n_even)
    squared = critical**2
    middle = (share + squared / (2 * worth)) / (1 + squared / worth)
    half = np.sqrt(share * (1 - share) / worth + squared / (4 * worth**2))
    half *= critical / (1 + squared / worth)
    low, high = float(middle - half), float(middle + half)
    # Wilson's interval holds the share, and of 0 or 1 ends there: but for rounding
    return Interval(max(0.0, min(low, share)), min(1.0, max(high, share)))


def difference_interval(gain: Array, sizes: Array, level: float = LEVEL) -> Interval | None:
    """Of sum(gain) / sum(sizes), both [G]: a difference of two shares on the same clips.

    None for fewer than LEAST_GROUPS groups.
    """
    if gain.size < LEAST_GROUPS:
        return None
    n_clips = float(sizes.sum())
    n_even = even_number(sizes)
    mean = float(gain.sum()) / n_clips
    variance = float((residuals((gain - mean * sizes) / n_clips, sizes) ** 2).sum())
    # where nothing differs yet, something may
    variance = max(variance, 1.0 / ((n_even + 2) * (n_clips + 2)))
    half = float(student.ppf(0.5 + level / 2, max(1.0, n_even - 1))) * np.sqrt(variance)
    return Interval(max(-1.0, float(mean - half)), min(1.0, float(mean + half)))


def _worth(share: float, variance: float, n_clips: float, n_even: float) -> float:
    """How many independent clips would tell as much.

    Never more than there are. With few errors (or few that are right) groups are counted more and
    more instead of clips, since all of these errors may be of one kind of group.
    """
    if variance <= 0.0:
        return n_even
    worth = min(n_clips, share * (1 - share) / variance)
    seen = min(1.0, n_clips * min(share, 1 - share) / _FEW_ERRORS)
    return float(worth**seen * min(worth, n_even) ** (1 - seen))
