"""Forecasts of numbers: mean absolute error by horizon, and forecasts from the past numbers alone.

Every time step of a file is an origin (rolling origin), as in forecasts of labels. A series has one
number for each step, float64 [T]; futures are [T, H], column h − 1 for the step h after the origin.
NaN: not known.

The baselines know the true numbers up to the origin: the last known number (naive), the number one
season ago (seasonal naive), the mean of the training numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from pipeline.metrics.forecast import BEST
from pipeline.metrics.intervals import LEAST_GROUPS, LEVEL, Groups, effective_number, residuals

Numbers = npt.NDArray[np.float64]

NAIVE, SEASONAL, MEAN = "naive", "seasonal_naive", "mean"
_SEASONS = range(2, 301)  # steps


def future_numbers(series: Numbers, n_steps: int, horizon: int) -> Numbers:
    """Numbers of the next `horizon` steps at each of the first n_steps [T], float64 [T, H]."""
    missing = max(0, n_steps + horizon - series.size)
    padded = np.concatenate([series, np.full(missing, np.nan)])
    return np.array(np.lib.stride_tricks.sliding_window_view(padded[1:], horizon)[:n_steps])


def quantile_edges(numbers: Numbers, most: int) -> list[float]:
    """Upper edges of all bins but the last: at most `most` bins of about equal numbers, none empty.

    Edges lie between neighbouring values and are rounded to five digits of the range. [] if all
    numbers are equal.
    """
    values, ordered = np.unique(numbers), np.sort(numbers)
    if values.size < 2:
        return []
    below = np.arange(values.size - 1)  # index of the value below each edge
    if values.size > most:
        cuts = np.quantile(ordered, np.arange(1, most) / most, method="inverted_cdf")
        below = np.unique(np.searchsorted(values, cuts))
        below = below[below < values.size - 1]
    middles = values[below] + (values[below + 1] - values[below]) / 2
    decimals = 4 - int(np.floor(np.log10(values[-1] - values[0])))
    edges, n_below = [], 0
    for edge in np.unique(middles.round(decimals)):
        n = int(np.searchsorted(ordered, edge, side="right"))
        if n_below < n < ordered.size:  # rounding may leave a bin without numbers
            edges.append(float(edge))
            n_below = n
    return edges


def season_steps(known: Sequence[Numbers]) -> int | None:
    """The season in steps: the lag of the highest peak of the mean autocorrelation.

    None if no lag of which a series has two has a peak: a smooth series is most similar to itself
    one step later, which is no season.
    """
    most = max((series.size for series in known), default=0) // 2
    lags = range(_SEASONS.start - 1, min(_SEASONS.stop, most + 2))
    found = np.array([_mean_autocorrelation(known, lag) for lag in lags])
    before, at, after = found[:-2], found[1:-1], found[2:]
    peaks = np.where((at > before) & (at >= after) & (at > 0), at, -np.inf)
    if not np.isfinite(peaks).any():
        return None
    return lags[1 + int(peaks.argmax())]


def _mean_autocorrelation(known: Sequence[Numbers], lag: int) -> float:
    """Over the series that have two seasons of this lag, nearly: a peak needs a neighbour."""
    found = []
    for series in known:
        centred = series - np.nanmean(series) if np.isfinite(series).any() else series
        pairs = centred[:-lag] * centred[lag:]
        variance = np.nanmean(centred**2) if np.isfinite(centred).any() else 0.0
        if series.size >= 2 * (lag - 1) and variance > 0 and np.isfinite(pairs).any():
            found.append(float(np.nanmean(pairs) / variance))
    return float(np.mean(found)) if found else np.nan


def series_baselines(
    known: Sequence[Numbers], test: Sequence[Numbers], horizon: int
) -> dict[str, list[Numbers]]:
    """{baseline: futures [T, H] of each test series [T]}, fitted on the known series."""
    mean = float(np.nanmean(np.concatenate(known)))
    season = season_steps(known)
    found: dict[str, list[Numbers]] = {NAIVE: [], MEAN: []}
    if season is not None:
        found[SEASONAL] = []
    for series in test:
        place = np.maximum.accumulate(np.where(np.isnan(series), -1, np.arange(series.size)))
        last = np.where(place < 0, mean, series[place])
        naive = np.repeat(last[:, None], horizon, axis=1)
        found[NAIVE].append(naive)
        found[MEAN].append(np.full_like(naive, mean))
        if season is not None:
            ahead = np.arange(1, horizon + 1)
            # whole seasons back, until the origin or before
            back = ahead - season * -(-ahead // season)
            source = np.arange(series.size)[:, None] + back
            ago = np.where(source < 0, np.nan, series[np.maximum(source, 0)])
            found[SEASONAL].append(np.where(np.isnan(ago), naive, ago))
    return found


def series_scores(
    truths: Sequence[Numbers], forecasts: Sequence[Numbers], groups: Sequence[str]
) -> dict[str, Any]:
    """Mean absolute error of all horizons together, and of each; futures [T, H] of each file.

    groups: the group of each file. Raises ValueError if no future number is known.
    """
    errors = _errors(truths, forecasts)
    if np.isnan(errors).all():
        raise ValueError("no future number is known")
    of_row = _of_rows(truths, groups)
    by_horizon = []
    for h in range(errors.shape[1]):
        found = _mean(errors[:, h], of_row)
        by_horizon.append({
            "horizon": h + 1, "n_origins": found["n"],
            "mae": found["mean"], "mae_interval": _pair(found),
        })  # fmt: skip
    whole = _mean(errors.ravel(), np.repeat(of_row, errors.shape[1]))
    return {
        "n": len(truths), "n_groups": len(set(groups)), "mae": whole["mean"],
        "mae_interval": _pair(whole), "by_horizon": by_horizon,
    }  # fmt: skip


def series_baseline_scores(
    truths: Sequence[Numbers],
    model: Sequence[Numbers],
    baselines: Mapping[str, Sequence[Numbers]],
    groups: Sequence[str],
) -> dict[str, Any]:
    """{baseline: its scores, and by how much the model's error is lower, in all and by horizon}.

    BEST is the best of them at each horizon, chosen on these files. skill: 1 − the model's error /
    the baseline's; None if that is 0 or not known.
    """
    of_row, mine = _of_rows(truths, groups), _errors(truths, model)
    theirs = {name: _errors(truths, each) for name, each in baselines.items()}
    n_horizons = mine.shape[1]
    best = [
        min(theirs, key=lambda name: float(np.nansum(theirs[name][:, h])))
        for h in range(n_horizons)
    ]
    futures = {name: list(each) for name, each in baselines.items()}
    futures[BEST] = [
        np.stack([futures[name][file][:, h] for h, name in enumerate(best)], axis=1)
        for file in range(len(truths))
    ]
    found = {}
    for name, each in futures.items():
        gain = _errors(truths, each) - mine  # [N, H]
        scores = series_scores(truths, each, groups)
        for h, row in enumerate(scores["by_horizon"]):
            row |= _lower(row["mae"], _mean(gain[:, h], of_row))
            if name == BEST:
                row["baseline"] = best[h]
        whole = _mean(gain.ravel(), np.repeat(of_row, n_horizons))
        found[name] = scores | _lower(scores["mae"], whole)
    return found


def _lower(mae: float | None, gain: dict[str, Any]) -> dict[str, Any]:
    return {"difference": gain, "skill": gain["mean"] / mae if mae else None}


def _errors(truths: Sequence[Numbers], forecasts: Sequence[Numbers]) -> Numbers:
    """Absolute errors of all origins, [N, H]; NaN where the truth is not known."""
    return np.asarray(np.abs(np.concatenate(truths) - np.concatenate(forecasts)))


def _of_rows(truths: Sequence[Numbers], groups: Sequence[str]) -> npt.NDArray[np.object_]:
    """The group of each origin of all files."""
    return np.repeat(np.array(groups, dtype=object), [truth.shape[0] for truth in truths])


def _mean(values: Numbers, groups: npt.NDArray[np.object_]) -> dict[str, Any]:
    """Mean of the known values [N] with its interval by group; None where there is none."""
    known = ~np.isnan(values)
    found: dict[str, Any] = {"mean": None, "low": None, "high": None, "n": int(known.sum())}
    if not known.any():
        return found | {"n_groups": 0}
    grouped = Groups(list(groups[known]))
    mean = float(values[known].mean())
    found |= {"mean": mean, "n_groups": len(grouped)}
    if len(grouped) < LEAST_GROUPS:
        return found
    surplus = (grouped.sums(values[known]) - mean * grouped.sizes) / found["n"]
    deviation = np.sqrt(float((residuals(surplus, grouped.sizes) ** 2).sum()))
    freedom = max(1.0, effective_number(grouped.sizes) - 1)
    half = float(student.ppf(0.5 + LEVEL / 2, freedom) * deviation)
    return found | {"low": mean - half, "high": mean + half}


def _pair(found: dict[str, Any]) -> list[float] | None:
    """The interval of a mean absolute error, which is not negative."""
    return None if found["low"] is None else [max(0.0, found["low"]), found["high"]]
