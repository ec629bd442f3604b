"""How far a difference between two methods would vary with other recordings of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

_RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """Accuracy of one method minus another's on the same clips, as a share."""

    mean: float
    low: float | None
    """95 % interval over groups drawn again; None where there is but one group."""
    high: float | None
    n_groups: int


def paired_difference(
    right: Sequence[bool], other_right: Sequence[bool], groups: Sequence[str]
) -> Difference:
    """Difference of accuracies with the percentile bootstrap's interval (Efron, 1979).

    Groups are drawn again, not clips: clips of one recording are right or wrong together. All
    sequences are [N].
    """
    _, group = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    gain = np.bincount(group, np.array(right, float) - np.array(other_right, float))
    size = np.bincount(group).astype(float)
    mean = float(gain.sum() / size.sum())
    if gain.size < 2:
        return Difference(mean, None, None, int(gain.size))
    found = bootstrap(
        (gain, size), lambda g, n, axis=-1: g.sum(axis=axis) / n.sum(axis=axis),
        paired=True, vectorized=True, n_resamples=_RESAMPLES, method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Difference(mean, float(found.low), float(found.high), int(gain.size))
