"""What leaving the unsure out gains: accuracy against the share of clips that get a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.clip import BoolArray, FloatArray
from data_prep.frames.sampling import evenly
from pipeline.evaluating.metrics import accuracy_with_interval

WANTED = (0.8, 0.9, 0.95, 0.99)
_LEAST_CLIPS = 10
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
        if sure.sum() < _LEAST_CLIPS:
            return None
        if right[sure].mean() >= wanted:
            return float(cut)
    return None
