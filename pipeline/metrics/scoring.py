"""All scores of an evaluation, for metrics.json: overall, per label, and of subgroups of the clips.

Subgroups ("slices") are by modalities, length, status, and the user's columns. The report shows
these numbers and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from data_prep.manifest import ManifestRow, RowLabels, labelled_s
from pipeline.features.samples import Sample
from pipeline.metrics.baselines import BaselinePrediction
from pipeline.metrics.classification import (
    accuracy_with_interval,
    average_precision,
    paired_difference,
    score,
)
from pipeline.metrics.intervals import Groups, weights
from pipeline.metrics.metrics_schema import Slice
from pipeline.metrics.reliability import calibration, coverage_curve, thresholds
from pipeline.storage.predictions import Prediction

_LENGTHS_S = ((0, 5), (5, 15), (15, 60), (60, 600), (600, float("inf")))
_MOST_VALUES = 50  # a property with more slices is not shown
_LEAST_CLIPS = 10  # of a slice that is tested for a lower accuracy
_LEAST_SHOWN = 5  # clips of a value; rarer ones are shown together
_FEW_VALUES = 5  # up to this many values are shown even if each has few clips
_NUMBERS = 0.9  # share of numeric cells above which a column is binned into ranges
_FEW_NUMBERS = 8  # a column of up to this many different numbers is not binned
_RANGES = 4
_GROUPING = frozenset({"group", "fold"})
OTHERS = "other values"
_SIGNIFICANCE = 0.05
_BUILT_IN = frozenset({"has", "length", "status", "group", "fold"})


@dataclass(frozen=True)
class EvaluatedClip:
    """A labelled row and its prediction.

    sample: the input of the model; baseline_sample: that of the baselines (features of the frozen
    encoder, log-mel). None if the clip failed, or if there are no such features.
    """

    row: ManifestRow
    prediction: Prediction
    sample: Sample | None
    baseline_sample: Sample | None = None


def slices(
    rows: Sequence[ManifestRow],
    predictions: Sequence[Prediction],
    right: Sequence[bool] | np.ndarray,
) -> dict[str, list[dict[str, Any]]]:
    """{property: its slices}, without properties that have a single value; arguments [N]."""
    is_right = np.asarray(right, bool)
    kinds_of = {}  # property → (its values in order, value of each clip)
    for name, values in _properties(rows, predictions):
        kinds = _kinds(name, values)
        if 1 < len(kinds) <= _MOST_VALUES:
            kinds_of[name] = kinds, values
    # Bonferroni over all properties together
    n_tests = sum(_n_tests(kinds, values) for name, (kinds, values) in kinds_of.items()
                  if name not in _GROUPING)  # fmt: skip
    return {
        name: [_slice(kind, values, rows, is_right, n_tests).model_dump() for kind in kinds]
        for name, (kinds, values) in kinds_of.items()
    }


def _n_tests(kinds: Sequence[str], values: Sequence[str]) -> int:
    """Number of slices of a property that are large enough to be tested."""
    counts = Counter(values)
    n = sum(_LEAST_CLIPS <= counts[kind] <= len(values) - _LEAST_CLIPS for kind in kinds)
    return 1 if len(kinds) == 2 and n else n  # of two slices at most one is the weaker


def _in_ranges(values: Sequence[str]) -> list[str] | None:
    """Bin a numeric column into ranges of about equal numbers of clips; None for other columns."""
    numbers = [_number(value) for value in values]
    known = np.array([number for number in numbers if number is not None])
    filled = sum(value != "" for value in values)
    if not filled or known.size < _NUMBERS * filled or np.unique(known).size <= _FEW_NUMBERS:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)[1:-1], method="nearest"))
    names = _range_names(known, edges)  # one more than edges
    return [
        "" if number is None else names[int(np.searchsorted(edges, number, side="right"))]
        for number in numbers
    ]


def _range_names(known: np.ndarray, edges: np.ndarray) -> list[str]:
    bounds = [float(known.min()), *edges.tolist(), float(known.max())]
    # enough digits to distinguish the bounds
    digits = next(d for d in (*range(4, 16), 17) if len({f"{b:.{d}g}" for b in bounds})
                  >= len(set(bounds)))  # fmt: skip
    shown = [f"{b:.0f}" if b.is_integer() and abs(b) < 1e15 else f"{b:.{digits}g}" for b in bounds]
    last = len(bounds) - 2
    return [
        f"{low} to {high}" if k == last else f"{low} to under {high}"
        for k, (low, high) in enumerate(pairwise(shown))
    ]


def _number(value: str) -> float | None:
    try:
        number = float(value.replace(",", "."))  # decimal commas of spreadsheets
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _without_rare(values: Sequence[str]) -> list[str]:
    """Merge values that have few clips each into one, "other values"."""
    counts = Counter(values)
    rare = {value for value, n in counts.items() if n < _LEAST_SHOWN}
    if len(rare) < 2 or (len(rare) == len(counts) <= _FEW_VALUES):
        return list(values)
    return [OTHERS if value in rare else value for value in values]


def _kinds(name: str, values: Sequence[str]) -> list[str]:
    if name == "length":
        kinds = [*(_length_name(low, high) for low, high in _LENGTHS_S), "unknown"]
        return [kind for kind in kinds if kind in values]
    # empty and merged values last
    return sorted(set(values), key=lambda value: (value == "", value == OTHERS, _place(value)))


def _place(value: str) -> tuple[float, str]:
    """Sort key: ranges by their lower bound, other values by name."""
    begin = _number(value.partition(" to ")[0])
    return (float("-inf") if begin is None else begin), value


def _slice(
    kind: str, values: Sequence[str], rows: Sequence[ManifestRow], right: np.ndarray, n_tests: int
) -> Slice:
    mask = np.array([value == kind for value in values])
    groups = [row.group_or_path for row in rows]
    inside = [group for group, in_slice in zip(groups, mask, strict=True) if in_slice]
    outside = [group for group, in_slice in zip(groups, mask, strict=True) if not in_slice]
    accuracy, interval = accuracy_with_interval(right[mask], inside)
    weaker = mask.sum() >= _LEAST_CLIPS and is_significantly_lower(
        right[mask], inside, right[~mask], outside, 1 - _SIGNIFICANCE / max(1, n_tests)
    )
    return Slice(
        value=kind or "(empty)",
        n=int(mask.sum()),
        n_groups=len(set(inside)),
        accuracy=accuracy,
        interval=interval,
        surely_weaker=bool(weaker),
    )


def is_significantly_lower(
    right: np.ndarray,
    groups: Sequence[str],
    others: np.ndarray,
    other_groups: Sequence[str],
    level: float,
) -> bool:
    """Whether the accuracy on some clips is significantly below that on others.

    The upper bound of the difference is combined from the two intervals (Newcombe, "Interval
    estimation for the difference between independent proportions", 1998). Conservative if groups
    have clips on both sides. False if one side has too few groups.
    """
    if not others.size:
        return False
    accuracy, interval = accuracy_with_interval(right, groups, level)
    other, other_interval = accuracy_with_interval(others, other_groups, level)
    if interval is None or other_interval is None:
        return False
    above, below = interval[1] - accuracy, other - other_interval[0]
    return bool(accuracy - other + np.hypot(above, below) < 0)


def _properties(
    rows: Sequence[ManifestRow], predictions: Sequence[Prediction]
) -> Iterator[tuple[str, list[str]]]:
    """Yield (property, its value for each of N clips)."""
    yield "has", [_has(prediction) for prediction in predictions]
    yield "length", [_length(prediction.duration_s) for prediction in predictions]
    yield "status", [str(prediction.status) for prediction in predictions]
    # a column named like a built-in property gets a prefix
    columns = {
        f"column {name}" if name in _BUILT_IN else name: [
            row.extra.get(name, "").strip() for row in rows
        ]
        for name in sorted({name for row in rows for name in row.extra})
    }
    suffixes = [PurePath(row.path).suffix.lower().lstrip(".") for row in rows]
    columns = {
        "column file type" if name == "file type" else name: v for name, v in columns.items()
    }
    for name, values in ({"file type": suffixes} | columns).items():
        ranges = _in_ranges(values)
        if ranges is not None:
            yield name, ranges
        elif len(set(values)) <= len(values) / 2:  # otherwise it identifies clips
            yield name, _without_rare(values)
    for name, values in {"fold": [row.fold for row in rows],
                         "group": [row.group for row in rows]}.items():  # fmt: skip
        if len(set(values)) <= len(values) / 2:
            yield name, values


def _has(prediction: Prediction) -> str:
    parts = [
        name
        for name, present in (("picture", prediction.has_video), ("sound", prediction.has_audio))
        if present
    ]
    return " and ".join(parts) + (" only" if len(parts) == 1 else "")


def _length(duration_s: float | None) -> str:
    if duration_s is None:
        return "unknown"
    low, high = next((low, high) for low, high in _LENGTHS_S if duration_s < high)
    return _length_name(low, high)


def _length_name(low: float, high: float) -> str:
    if high == float("inf"):
        return f"{low:g} s and longer"
    return f"under {high:g} s" if low == 0 else f"{low:g} to {high:g} s"


_KEPT = ("n", "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "per_class")
_CONFIDENT = 0.9
_LEAST_CONFIDENT_CLIPS = 10


def model_scores(clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
    """Scores of clips with a prediction: `score`, calibration, thresholds and slices.

    Raises ValueError without clips.
    """
    truth = [clip.row.label for clip in clips]
    groups = [clip.row.group_or_path for clip in clips]
    probabilities = np.stack([np.asarray(clip.prediction.probabilities) for clip in clips])
    predicted = [labels[int(k)] for k in probabilities.argmax(axis=1)]
    found = score(truth, predicted, labels, groups)
    right = np.array([t == p for t, p in zip(truth, predicted, strict=True)])
    confidence = probabilities.max(axis=1)
    for k, label in enumerate(labels):
        has_label = np.array([t == label for t in truth])
        found["per_class"][label]["average_precision"] = average_precision(
            has_label, probabilities[:, k]
        )
    calibrated = calibration(confidence, right, groups)
    grouped = Groups(groups)
    of_group = Counter(groups)
    # segments of one file share a group even if the user gave none
    n_without_group = sum(
        of_group[c.row.group_or_path] == 1 and c.row.group in ("", c.row.path) for c in clips
    )
    known = n_without_group < len(clips)
    largest, n_largest = of_group.most_common(1)[0]
    if any(clip.row.path == largest for clip in clips):
        largest = Path(largest).name  # a group by default is the file's path
    return {
        **found,
        "groups_known": known,
        "n_without_group": n_without_group,
        **weights(grouped.sums(right), grouped.sizes),
        "largest_group": {"name": largest, "n": n_largest} if known else None,
        "calibration": None if calibrated is None else calibrated.model_dump(),
        "sure": _confidence(confidence, right),
        "coverage": [point.model_dump() for point in coverage_curve(confidence, right)],
        "thresholds": [found.model_dump() for found in thresholds(confidence, right, groups)],
        "slices": slices([clip.row for clip in clips], [clip.prediction for clip in clips], right),
    }


def _confidence(probability: np.ndarray, right: np.ndarray) -> dict[str, Any] | None:
    """Accuracy of clips with a probability of 90 % or more; None for fewer than 10 such clips."""
    confident = probability >= _CONFIDENT
    if confident.sum() < _LEAST_CONFIDENT_CLIPS:
        return None
    return {
        "min_probability": _CONFIDENT,
        "n": int(confident.sum()),
        "mean_probability": float(probability[confident].mean()),
        "accuracy": float(right[confident].mean()),
    }


def data_scores(
    clips: Sequence[EvaluatedClip], labels: Sequence[str], row_labels: RowLabels
) -> dict[str, Any]:
    """Facts on the evaluated set, including failed clips."""
    usable = [clip for clip in clips if clip.prediction.status.usable]
    return {
        "n_files": len({clip.row.path for clip in clips}),
        "seconds": float(sum(clip.prediction.duration_s or 0.0 for clip in usable)),
        "statuses": dict(sorted(Counter(str(clip.prediction.status) for clip in clips).items())),
        "per_label": {label: _of_label(label, clips, row_labels) for label in labels},
    }


def _of_label(label: str, clips: Sequence[EvaluatedClip], row_labels: RowLabels) -> dict[str, Any]:
    of_label = [clip for clip in clips if label in row_labels(clip.row)]
    usable = [clip for clip in of_label if clip.prediction.status.usable]
    return {
        "clips": len(usable),
        "failed": len(of_label) - len(usable),
        "groups": len({clip.row.group_or_path for clip in usable}),
        "seconds": float(
            sum(
                labelled_s(clip.row, label, row_labels)
                if clip.row.segments
                else clip.prediction.duration_s or 0.0
                for clip in usable
            )
        ),
        "with_picture": sum(bool(clip.prediction.has_video) for clip in usable),
        "with_sound": sum(bool(clip.prediction.has_audio) for clip in usable),
    }


def baseline_scores(
    predictions: Mapping[str, BaselinePrediction],
    truth: Sequence[str],
    predicted: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """{baseline: its scores, and "difference": the model's accuracy minus the baseline's}."""
    right = [t == p for t, p in zip(truth, predicted, strict=True)]  # of the model
    results = {}
    for name, baseline in predictions.items():
        whole = score(truth, baseline.predicted, labels, groups)
        other = [t == p for t, p in zip(truth, baseline.predicted, strict=True)]
        result = {key: whole[key] for key in _KEPT}
        if baseline.regularisation_c is not None:
            result["regularisation_c"] = baseline.regularisation_c
        if len(set(baseline.predicted)) == 1:
            result["always"] = baseline.predicted[0]  # it ignores its input
        result["difference"] = paired_difference(right, other, groups).model_dump()
        results[name] = result
    return results
