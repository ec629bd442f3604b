"""Confidence intervals of scores that account for clustered clips.

Clips of one group (a camera, a day) tend to be right or wrong together, so the variance is
estimated from groups. A score that is a ratio of sums over groups is linearised; the residuals of
the groups give its variance, the variance an effective number of independent clips, and that number
a Wilson interval. In simulations (benchmarks/studies/COVERAGE.md) with 20 or more groups, it covers
the true value in 92 to 98 % of cases, slightly more with few errors. The percentile bootstrap over
groups, also shown there, covers it in 50 to 95 %.

Sources: linearisation and effective size, Korn and Graubard, "Confidence intervals for proportions
with small expected number of positive counts" (1998); leverage correction of the residuals, Bell
and McCaffrey (2002); effective number of groups, Kish (1965); Wilson (1927); half a pair added to
each side of a difference, Agresti and Min (2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

LEAST_GROUPS = 3  # with fewer there is no interval
FEW_GROUPS = 20  # with fewer an interval is wide and rests on few sources
UNEVEN, FEW_DECIDE = 2.5, 12
"""An interval may be too narrow if the number of groups exceeds the effective one by this factor,
and the effective number with errors (hits, if rarer) is below this
(benchmarks/studies/COVERAGE.md)."""

LEVEL = 0.95
_FEW_ERRORS = 5.0  # with fewer, clustering of errors cannot be estimated

# With a few large groups, samples that miss an atypical one have both a high score and a small
# variance. So the more uneven the groups, the more the variance from clustering is inflated.
# Exponents chosen by simulation; without effect if all groups have one size.
_CLUSTERED, _FREEDOM = 0.45, 0.75

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """95 % interval, or of another level."""

    low: float
    high: float


class Groups:
    """Index of the groups of clips; names [N]: the group of each clip."""

    def __init__(self, names: Sequence[str]) -> None:
        _, index = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
        self.index: IntArray = index.astype(np.int64)
        """[N], index of each clip's group."""
        self.sizes: Array = np.bincount(self.index).astype(float)

    def __len__(self) -> int:
        return int(self.sizes.size)

    def sums(self, values: npt.ArrayLike) -> Array:
        """Sum values [N] by group → [G]."""
        summed = np.bincount(self.index, np.asarray(values, float), minlength=len(self))
        return np.asarray(summed, np.float64)


def effective_number(sums: Array) -> float:
    """Effective number of groups by their sums [G] (Kish 1965); 0 if all are 0."""
    squares = float((sums**2).sum())
    return float(sums.sum()) ** 2 / squares if squares else 0.0


def weights(right: Array, sizes: Array) -> dict[str, float]:
    """Effective numbers of groups: by clips, and by errors or hits, whichever are rarer.

    right, sizes: [G] sums of correct predictions and of clips.
    """
    # the rarer of the two limits the precision of the accuracy
    rarer = right if right.sum() < sizes.sum() / 2 else sizes - right
    return {"even_groups": effective_number(sizes), "even_groups_deciding": effective_number(rarer)}


def ratio_interval(part: Array, whole: Array, level: float = LEVEL) -> Interval | None:
    """Interval of sum(part) / sum(whole), both [G] sums over groups, 0 ≤ part ≤ whole.

    None if fewer than LEAST_GROUPS groups have a positive whole.
    """
    has_any = whole > 0
    part, whole = part[has_any], whole[has_any]
    if part.size < LEAST_GROUPS:
        return None
    total = float(whole.sum())
    ratio = float(part.sum()) / total
    influence = residuals((part - ratio * whole) / total, whole)
    return share_interval(ratio, influence, whole, level)


def f1_interval(
    hits: Array, true: Array, predicted: Array, level: float = LEVEL
) -> Interval | None:
    """Interval of F1, from [G] sums of true positives, clips with the label, and predicted ones.

    None as in `ratio_interval`.
    """
    # F1 = 2J / (1 + J) is monotonic in the Jaccard index J, which is a ratio of counts
    found = ratio_interval(hits, true + predicted - hits, level)
    if found is None:
        return None
    return Interval(2 * found.low / (1 + found.low), 2 * found.high / (1 + found.high))


def residuals(influence: Array, sizes: Array) -> Array:
    """Residuals of the groups [G], corrected for leverage (Bell and McCaffrey, 2002).

    influence [G]: of each group on the linearised score; sizes [G]: its part of the denominator.
    """
    leverage = np.minimum(0.9, sizes / sizes.sum())  # bounded, or a single group would dominate
    corrected: Array = influence / np.sqrt(1 - leverage)
    return corrected


def share_interval(
    share: float, corrected: Array, sizes: Array, level: float = LEVEL
) -> Interval | None:
    """Wilson's interval of a score in 0 … 1 for its effective number of clips.

    corrected [G]: `residuals` of the groups; sizes [G]: their parts of the denominator. None for
    fewer than LEAST_GROUPS groups.
    """
    if corrected.size < LEAST_GROUPS:
        return None
    n_clips = float(sizes.sum())
    n_even = effective_number(sizes)
    uneven = corrected.size / n_even  # 1 if all groups have one size
    # degrees of freedom: fewer than the number of groups if these are uneven
    critical = float(student.ppf(0.5 + level / 2, max(1.0, n_even * uneven**_FREEDOM - 1)))
    independent = share * (1 - share) / n_clips  # variance if all clips were independent
    variance = float((corrected**2).sum())
    variance += max(0.0, variance - independent) * (uneven**_CLUSTERED - 1)
    n_effective = _effective_size(share, variance, n_clips, n_even)
    squared = critical**2
    middle = (share + squared / (2 * n_effective)) / (1 + squared / n_effective)
    half = np.sqrt(share * (1 - share) / n_effective + squared / (4 * n_effective**2))
    half *= critical / (1 + squared / n_effective)
    low, high = float(middle - half), float(middle + half)
    # exactly, Wilson's interval contains the share and stays within 0 and 1: this is rounding
    return Interval(max(0.0, min(low, share)), min(1.0, max(high, share)))


def difference_interval(gain: Array, sizes: Array, level: float = LEVEL) -> Interval | None:
    """Interval of sum(gain) / sum(sizes), both [G]: a paired difference of two shares.

    None for fewer than LEAST_GROUPS groups.
    """
    if gain.size < LEAST_GROUPS:
        return None
    n_clips = float(sizes.sum())
    n_even = effective_number(sizes)
    mean = float(gain.sum()) / n_clips
    variance = float((residuals((gain - mean * sizes) / n_clips, sizes) ** 2).sum())
    # Agresti and Min: without any observed difference the variance is not zero
    variance = max(variance, 1.0 / ((n_even + 2) * (n_clips + 2)))
    half = float(student.ppf(0.5 + level / 2, max(1.0, n_even - 1))) * np.sqrt(variance)
    return Interval(max(-1.0, float(mean - half)), min(1.0, float(mean + half)))


def _effective_size(share: float, variance: float, n_clips: float, n_even: float) -> float:
    """Effective number of independent clips, at most n_clips.

    With few errors, or few hits, it approaches the effective number of groups.
    """
    if variance <= 0.0:
        return n_even  # no errors, or only errors: their clustering is unknown
    n_effective = min(n_clips, share * (1 - share) / variance)
    # few errors may all come from one kind of group
    evidence = min(1.0, n_clips * min(share, 1 - share) / _FEW_ERRORS)
    return float(n_effective**evidence * min(n_effective, n_even) ** (1 - evidence))
