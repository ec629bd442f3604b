"""Whether a model that says 90 % is right in 90 of 100: error of its probabilities, and a test.

What leaving the unsure out gains: accuracy against the share of clips that get a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray
from data_prep.video.sampling import evenly
from pipeline.metrics.classification import accuracy_with_interval
from pipeline.metrics.intervals import Groups

_MOST_BINS, _LEAST_PER_BIN = 15, 10
_USUAL_PER_BIN = 25
"""A share of right ones among fewer is known to no better than 20 points."""
_LEAST_CLIPS = 20
_SIMULATED, _LEAST_GROUPS = 1000, 6
_EVEN_BINS = 15


@dataclass(frozen=True)
class Bin:
    """Clips of similar probability."""

    n: int
    mean_probability: float
    accuracy: float
    interval: list[float] | None


@dataclass(frozen=True)
class Calibration:
    """How well the probability of the named label agrees with how often it is right."""

    error: float
    """Root of the debiased squared error; 0 where it is no more than chance would give."""
    n_bins: int
    """Bins of equal numbers of clips, least sure to most sure."""
    p_value: float | None
    """How often a perfectly calibrated model with these probabilities would look no better; None
    for fewer than six groups, by which no test can tell."""
    mean_probability: float
    accuracy: float
    expected_error: float
    """Mean distance of probability and share of right ones over 15 bins of equal width, weighted
    by clips (expected calibration error, Guo and others, 2017). Few clips make it too large."""
    bins: list[Bin]


def calibration(
    probability: FloatArray, right: BoolArray, groups: Sequence[str]
) -> Calibration | None:
    """probability and right [N]: of the named label, and whether it was the true one.

    None for fewer than 20 clips, which say nothing.
    """
    if probability.size < _LEAST_CLIPS:
        return None
    n_bins = min(_MOST_BINS, max(2, probability.size // _USUAL_PER_BIN))
    bins = _equal_bins(probability, n_bins)
    found = _squared_error(probability, right, bins)
    return Calibration(
        error=float(np.sqrt(max(0.0, found))),
        n_bins=len(bins),
        p_value=_p_value(right - probability, bins, Groups(groups)),
        mean_probability=float(probability.mean()),
        accuracy=float(right.mean()),
        expected_error=expected_error(probability, right),
        bins=[_bin(probability, right, groups, inside) for inside in bins],
    )


def _equal_bins(probability: FloatArray, n_bins: int) -> list[npt.NDArray[np.intp]]:
    """Clips by probability in bins of about equally many; equal ones stay together, or the bins
    would depend on the order of the files. None is left with fewer clips than say something."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    cuts = [ranked.size * k // n_bins for k in range(1, n_bins)]
    ends = [0]
    for end in sorted({int(np.searchsorted(ranked, ranked[cut], side="left")) for cut in cuts}):
        if end - ends[-1] >= _LEAST_PER_BIN:  # after the last cut there are always as many
            ends.append(end)
    return np.split(order, ends[1:])


def _p_value(left: FloatArray, bins: list[npt.NDArray[np.intp]], groups: Groups) -> float | None:
    """How often chance alone gives errors as large: what is left of each answer after its
    probability, its sign drawn anew for each group, since clips of one are right or wrong together
    (wild cluster bootstrap; Cameron, Gelbach and Miller, 2008). Few groups have few signs: of five,
    one in sixteen draws looks as bad as any model can."""
    if len(groups) < _LEAST_GROUPS:
        return None
    by_group = np.stack(
        [np.bincount(groups.index[inside], left[inside], minlength=len(groups)) for inside in bins],
        axis=1,
    )
    sizes = np.array([inside.size for inside in bins])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_SIMULATED, len(groups)))
    found = float((by_group.sum(axis=0) ** 2 / sizes).sum())
    drawn = ((signs @ by_group) ** 2 / sizes).sum(axis=1)
    return float((1 + np.sum(drawn >= found - 1e-12)) / (1 + _SIMULATED))


def expected_error(probability: FloatArray, right: BoolArray) -> float:
    """Of bins [0, 1/15), [1/15, 2/15) …; probability and right [N]."""
    bins = np.minimum((probability * _EVEN_BINS).astype(int), _EVEN_BINS - 1)
    gaps = np.bincount(bins, probability - right, minlength=_EVEN_BINS)
    return float(np.abs(gaps).sum() / probability.size)


def _bin(
    probability: FloatArray, right: BoolArray, groups: Sequence[str], inside: npt.NDArray[np.intp]
) -> Bin:
    accuracy, interval = accuracy_with_interval(right[inside], [groups[int(k)] for k in inside])
    return Bin(int(inside.size), float(probability[inside].mean()), accuracy, interval)


def _squared_error(
    probability: FloatArray, right: BoolArray, bins: list[npt.NDArray[np.intp]]
) -> float:
    """Debiased squared calibration error; probability and right [N].

    Kumar, Liang and Ma, 2019: from each bin's squared difference between mean probability and
    share of right ones, the variance of that share is taken away.
    """
    total = 0.0
    for inside in bins:
        share = float(right[inside].mean())
        gap = (share - float(probability[inside].mean())) ** 2
        total += inside.size / probability.size * (gap - share * (1 - share) / (inside.size - 1))
    return total


WANTED = (0.8, 0.9, 0.95, 0.99)
_LEAST_SELECTED = 10
_MOST_POINTS = 100


@dataclass(frozen=True)
class Point:
    """Clips with at least this probability: which share they are, and how often right."""

    min_probability: float
    coverage: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Threshold:
    """The lowest probability to set at which the wanted accuracy was reached on these clips."""

    wanted_accuracy: float
    min_probability: float
    coverage: float
    accuracy: float
    interval: list[float] | None
    n: int


def coverage_curve(probability: FloatArray, right: BoolArray) -> list[Point]:
    """From all clips to the surest ones; probability and right [N], of the named label.

    Clips of equal probability come and go together. At most 100 points, evenly chosen.
    """
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    last_of_its_kind = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))[::-1]
    hits = np.cumsum(right[order])
    return [
        Point(float(ranked[k]), (k + 1) / ranked.size, float(hits[k] / (k + 1)), int(k) + 1)
        for k in map(int, last_of_its_kind[evenly(last_of_its_kind.size, _MOST_POINTS)])
    ]


def thresholds(probability: FloatArray, right: BoolArray, groups: Sequence[str]) -> list[Threshold]:
    """For each wanted accuracy above the accuracy of all, where at least 10 clips reach it.

    The probability is rounded down to three digits, so that it can be typed.
    """
    found = []
    named = np.asarray(groups, dtype=object)
    for wanted in WANTED:
        if right.mean() >= wanted:
            continue
        cut = _lowest(probability, right, wanted)
        if cut is not None:
            sure = probability >= cut
            accuracy, interval = accuracy_with_interval(right[sure], list(named[sure]))
            coverage = float(sure.mean())
            found.append(Threshold(wanted, cut, coverage, accuracy, interval, int(sure.sum())))
    return found


def _lowest(probability: FloatArray, right: BoolArray, wanted: float) -> float | None:
    for cut in np.unique(np.floor(probability * 1000) / 1000):
        sure = probability >= cut
        if sure.sum() < _LEAST_SELECTED:
            return None
        if right[sure].mean() >= wanted:
            return float(cut)
    return None
