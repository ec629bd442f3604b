"""Forecasts of the next labels: accuracy by horizon, and forecasts from the past labels alone.

Every time step of a file is an origin (rolling origin): from what was known at its end, the labels
of the next H steps are predicted. Futures are int64 [T, H], column h − 1 for the step h after the
origin; UNKNOWN where that is past the end of the file, or its label is not known.

The baselines know the true labels up to the origin, which the model has to see and hear:
persistence, the most frequent class, a Markov chain, and a chain of segments (semi-Markov), in
which the probability to leave a class depends on how long it has lasted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.segments import UNKNOWN
from pipeline.metrics.classification import paired_difference
from pipeline.metrics.intervals import Groups, ratio_interval
from pipeline.metrics.segment_chain import SegmentChain
from pipeline.metrics.segments import IntArray, runs

LAST_LABEL, BEST = "persistence", "best_baseline"
_ADDED = 1.0  # to the counts of transitions: what the known files lack is rare, not impossible


def future_labels(timeline: IntArray, horizon: int) -> IntArray:
    """Labels of the next `horizon` steps at each step of a timeline [T], int64 [T, H]."""
    padded = np.concatenate([timeline, np.full(horizon, UNKNOWN, np.int64)])
    windows = np.lib.stride_tricks.sliding_window_view(padded[1:], horizon)
    return np.array(windows[: timeline.size])


def elapsed_steps(timeline: IntArray) -> IntArray:
    """Number of steps that the class of each step has lasted, itself included, int64 [T]."""
    lengths = [np.arange(1, run.end - run.start + 1) for run in runs(timeline)]
    return np.concatenate([np.zeros(0, np.int64), *lengths]).astype(np.int64)


def chain_forecasts(
    known: Sequence[IntArray], test: Sequence[IntArray], n_classes: int, horizon: int
) -> dict[str, list[IntArray]]:
    """{baseline: futures [T, H] of each test timeline}, fitted on the known timelines [T]."""
    labels = np.concatenate(known)
    most = int(np.bincount(labels[labels != UNKNOWN], minlength=n_classes).argmax())
    markov = _markov_table(known, n_classes, horizon)
    segment_chain = SegmentChain.fit(known, n_classes).most_probable(horizon)  # [K, L, H]
    found: dict[str, list[IntArray]] = {
        name: [] for name in (LAST_LABEL, "most_frequent", "markov_chain", "segment_chain")
    }
    for timeline in test:
        last = _last_known(timeline, most)
        lasted = np.minimum(elapsed_steps(timeline), segment_chain.shape[1]) - 1
        found[LAST_LABEL].append(np.repeat(last[:, None], horizon, axis=1))
        found["most_frequent"].append(np.full((timeline.size, horizon), most))
        found["markov_chain"].append(markov[last])
        found["segment_chain"].append(segment_chain[last, lasted])
    return found


def _last_known(timeline: IntArray, before: int) -> IntArray:
    """The last known label up to each step [T]; `before`: where none is known yet."""
    place = np.maximum.accumulate(np.where(timeline == UNKNOWN, -1, np.arange(timeline.size)))
    return np.where(place < 0, before, timeline[place])


def _markov_table(known: Sequence[IntArray], n_classes: int, horizon: int) -> IntArray:
    """Most probable class h steps after each class, int64 [K, H]."""
    counts = np.full((n_classes, n_classes), _ADDED / n_classes)
    for timeline in known:
        before, after = timeline[:-1], timeline[1:]
        both = (before != UNKNOWN) & (after != UNKNOWN)
        np.add.at(counts, (before[both], after[both]), 1)
    step = counts / counts.sum(axis=1, keepdims=True)
    powers = [np.linalg.matrix_power(step, h) for h in range(1, horizon + 1)]
    return np.stack([power.argmax(axis=1) for power in powers], axis=1).astype(np.int64)


def forecast_scores(
    truths: Sequence[IntArray], forecasts: Sequence[IntArray], groups: Sequence[str]
) -> dict[str, Any]:
    """Accuracy of all horizons together, and of each; futures [T, H] of each file.

    groups: the group of each file. Raises ValueError if no future label is known.
    """
    truth, forecast = np.concatenate(truths), np.concatenate(forecasts)  # [N, H]
    known = truth != UNKNOWN
    if not known.any():
        raise ValueError("no future label is known")
    right = (truth == forecast) & known
    of_row = Groups(list(_of_rows(truths, groups)))
    by_horizon = []
    for h in range(truth.shape[1]):
        interval = ratio_interval(of_row.sums(right[:, h]), of_row.sums(known[:, h]))
        n = int(known[:, h].sum())
        by_horizon.append({
            "horizon": h + 1, "n_origins": n,
            "accuracy": float(right[:, h].sum()) / n if n else None,
            "accuracy_interval": None if interval is None else [interval.low, interval.high],
        })  # fmt: skip
    whole = ratio_interval(of_row.sums(right.sum(axis=1)), of_row.sums(known.sum(axis=1)))
    return {
        "n": len(truths), "n_groups": len(of_row),
        "accuracy": float(right.sum() / known.sum()),
        "accuracy_interval": None if whole is None else [whole.low, whole.high],
        "by_horizon": by_horizon,
    }  # fmt: skip


def baseline_scores(
    truths: Sequence[IntArray],
    model: Sequence[IntArray],
    baselines: Mapping[str, Sequence[IntArray]],
    groups: Sequence[str],
) -> dict[str, Any]:
    """{baseline: its scores, and the model's gain over it, in all and by horizon}.

    BEST is the best of them at each horizon, chosen on these files: the model's gain over it is the
    skill.
    """
    truth = np.concatenate(truths)
    known, of_row = truth != UNKNOWN, _of_rows(truths, groups)
    futures = {name: list(each) for name, each in baselines.items()}
    joined = {name: np.concatenate(each) for name, each in futures.items()}
    best = [
        max(joined, key=lambda name: int(((joined[name] == truth) & known)[:, h].sum()))
        for h in range(truth.shape[1])
    ]
    futures[BEST] = [
        np.stack([futures[name][file][:, h] for h, name in enumerate(best)], axis=1)
        for file in range(len(truths))
    ]
    mine = np.concatenate(model) == truth  # [N, H]
    found = {}
    for name, each in futures.items():
        theirs = np.concatenate(each) == truth
        scores = forecast_scores(truths, each, groups)
        for h, row in enumerate(scores["by_horizon"]):
            row["difference"] = _gain(mine[:, h], theirs[:, h], known[:, h], of_row)
            if name == BEST:
                row["baseline"] = best[h]
        rows_of = np.repeat(of_row, truth.shape[1])
        gain = _gain(mine.ravel(), theirs.ravel(), known.ravel(), rows_of)
        found[name] = scores | {"difference": gain}
    return found


def _gain(
    mine: npt.NDArray[np.bool_],
    theirs: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.object_],
) -> dict[str, Any]:
    if not known.any():
        return {"mean": 0.0, "low": None, "high": None, "n_groups": 0}
    return paired_difference(mine[known], theirs[known], list(groups[known])).model_dump()


def _of_rows(truths: Sequence[IntArray], groups: Sequence[str]) -> npt.NDArray[np.object_]:
    """The group of each origin of all files."""
    return np.repeat(np.array(groups, dtype=object), [truth.shape[0] for truth in truths])
