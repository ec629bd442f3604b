"""Whether a model that says 90 % is right in 90 of 100: error of its probabilities, and a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray

_MOST_BINS, _LEAST_PER_BIN = 15, 10
_SIMULATED = 1000


@dataclass(frozen=True)
class Calibration:
    """How well the probability of the named label agrees with how often it is right."""

    error: float
    """Root of the debiased squared error; 0 where it is no more than chance would give."""
    n_bins: int
    """Bins of equal numbers of clips, least sure to most sure."""
    p_value: float
    """How often a perfectly calibrated model with these probabilities would look no better."""
    mean_probability: float
    accuracy: float


def calibration(probability: FloatArray, right: BoolArray) -> Calibration | None:
    """probability and right [N]: of the named label, and whether it was the true one.

    None for fewer than 20 clips, which say nothing.
    """
    n_bins = min(_MOST_BINS, probability.size // _LEAST_PER_BIN)
    if n_bins < 2:
        return None
    bins = np.array_split(np.argsort(probability, kind="stable"), n_bins)
    found = _squared_errors(probability, right[None].astype(float), bins)[0]
    # Consistency resampling (Bröcker and Smith, 2007): labels as the probabilities themselves say.
    draws = np.random.default_rng(0).random((_SIMULATED, probability.size)) < probability
    ideal = _squared_errors(probability, draws.astype(float), bins)
    return Calibration(
        error=float(np.sqrt(max(0.0, found))),
        n_bins=n_bins,
        p_value=float((1 + np.sum(ideal >= found)) / (1 + _SIMULATED)),
        mean_probability=float(probability.mean()),
        accuracy=float(right.mean()),
    )


def _squared_errors(
    probability: FloatArray, right: FloatArray, bins: list[npt.NDArray[np.intp]]
) -> FloatArray:
    """Debiased squared calibration error of each row of right [R, N] → [R].

    Kumar, Liang and Ma, 2019: from each bin's squared difference between mean probability and
    share of right ones, the variance of that share is taken away.
    """
    total = np.zeros(right.shape[0])
    for inside in bins:
        share = right[:, inside].mean(axis=1)
        gap = (share - probability[inside].mean()) ** 2
        total += inside.size / probability.size * (gap - share * (1 - share) / (inside.size - 1))
    return total
