"""Calibration of predicted probabilities, and accuracy against coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray
from data_prep.video.sampling import evenly
from pipeline.metrics.classification import accuracy_with_interval
from pipeline.metrics.intervals import Groups
from pipeline.metrics.metrics_schema import Bin, Calibration, CoveragePoint, Threshold

_MOST_BINS, _LEAST_PER_BIN = 15, 10
_USUAL_PER_BIN = 25  # with fewer, a bin's accuracy is known to no better than 20 points
_LEAST_CLIPS = 20
_SIMULATED, _LEAST_GROUPS = 1000, 6  # of the bootstrap test
_ECE_BINS = 15  # of equal width, for the expected calibration error


def calibration(
    probability: FloatArray, right: BoolArray, groups: Sequence[str]
) -> Calibration | None:
    """Calibration of N clips; None for fewer than 20.

    probability float [N]: of the predicted label; right bool [N]: whether it is the true one.
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
    """Indices of the clips in bins of about equal size, at least 10, by rising probability."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    cuts = [ranked.size * k // n_bins for k in range(1, n_bins)]
    ends = [0]
    # cut before ties: splitting them would make the bins depend on the order of the files
    for end in sorted({int(np.searchsorted(ranked, ranked[cut], side="left")) for cut in cuts}):
        if end - ends[-1] >= _LEAST_PER_BIN:  # the bin after the last cut is always large enough
            ends.append(end)
    return np.split(order, ends[1:])


def _p_value(
    residual: FloatArray, bins: list[npt.NDArray[np.intp]], groups: Groups
) -> float | None:
    """Wild cluster bootstrap of the calibration error (Cameron, Gelbach and Miller, 2008).

    residual float [N]: right minus probability, whose sign is drawn per group. None for
    fewer than six groups.
    """
    # of five groups, one in sixteen draws of signs is as extreme as any data can be
    if len(groups) < _LEAST_GROUPS:
        return None
    by_group = np.stack(  # [G, bins]
        [
            np.bincount(groups.index[inside], residual[inside], minlength=len(groups))
            for inside in bins
        ],
        axis=1,
    )
    sizes = np.array([inside.size for inside in bins])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_SIMULATED, len(groups)))
    found = float((by_group.sum(axis=0) ** 2 / sizes).sum())
    drawn = ((signs @ by_group) ** 2 / sizes).sum(axis=1)  # [simulations]
    # plus one: the data themselves are one of the possible draws
    return float((1 + np.sum(drawn >= found - 1e-12)) / (1 + _SIMULATED))


def expected_error(probability: FloatArray, right: BoolArray) -> float:
    """Expected calibration error over bins [0, 1/15), [1/15, 2/15) …; both arguments [N]."""
    bins = np.minimum((probability * _ECE_BINS).astype(int), _ECE_BINS - 1)
    # a bin's n times its gap: the weights of the mean are included
    gaps = np.bincount(bins, probability - right, minlength=_ECE_BINS)
    return float(np.abs(gaps).sum() / probability.size)


def _bin(
    probability: FloatArray, right: BoolArray, groups: Sequence[str], inside: npt.NDArray[np.intp]
) -> Bin:
    accuracy, interval = accuracy_with_interval(right[inside], [groups[int(k)] for k in inside])
    return Bin(
        n=int(inside.size),
        mean_probability=float(probability[inside].mean()),
        accuracy=accuracy,
        interval=interval,
    )


def _squared_error(
    probability: FloatArray, right: BoolArray, bins: list[npt.NDArray[np.intp]]
) -> float:
    """Debiased squared calibration error (Kumar, Liang and Ma, 2019); probability and right [N].

    From each bin's squared difference of mean probability and accuracy, the variance of the
    accuracy is subtracted.
    """
    total = 0.0
    for inside in bins:
        share = float(right[inside].mean())
        gap = (share - float(probability[inside].mean())) ** 2
        total += inside.size / probability.size * (gap - share * (1 - share) / (inside.size - 1))
    return total


WANTED_ACCURACIES = (0.8, 0.9, 0.95, 0.99)
_LEAST_SELECTED = 10
_MOST_POINTS = 100


def coverage_curve(probability: FloatArray, right: BoolArray) -> list[CoveragePoint]:
    """Accuracy against coverage, from all clips to the most confident ones, at most 100 points.

    probability and right [N]: of the predicted label.
    """
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    # clips of equal probability pass a threshold together, so only the last of them is a point
    last_of_ties = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))[::-1]
    hits = np.cumsum(right[order])
    return [
        CoveragePoint(
            min_probability=float(ranked[k]),
            coverage=(k + 1) / ranked.size,
            accuracy=float(hits[k] / (k + 1)),
            n=k + 1,
        )
        for k in map(int, last_of_ties[evenly(last_of_ties.size, _MOST_POINTS)])
    ]


def thresholds(probability: FloatArray, right: BoolArray, groups: Sequence[str]) -> list[Threshold]:
    """Thresholds for the wanted accuracies that all clips together do not reach.

    An accuracy that no 10 or more clips reach has none.
    """
    found = []
    group_names = np.asarray(groups, dtype=object)
    for wanted in WANTED_ACCURACIES:
        if right.mean() >= wanted:
            continue  # reached without a threshold
        cut = _lowest_threshold(probability, right, wanted)
        if cut is not None:
            selected = probability >= cut
            accuracy, interval = accuracy_with_interval(
                right[selected], list(group_names[selected])
            )
            found.append(
                Threshold(
                    wanted_accuracy=wanted,
                    min_probability=cut,
                    coverage=float(selected.mean()),
                    accuracy=accuracy,
                    interval=interval,
                    n=int(selected.sum()),
                )
            )
    return found


def _lowest_threshold(probability: FloatArray, right: BoolArray, wanted: float) -> float | None:
    # three digits are enough to type; rounded down, so that the clip at the threshold passes
    for cut in np.unique(np.floor(probability * 1000) / 1000):
        selected = probability >= cut
        if selected.sum() < _LEAST_SELECTED:
            return None
        if right[selected].mean() >= wanted:
            return float(cut)
    return None
