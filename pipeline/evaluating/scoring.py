"""All numbers of an evaluation, for metrics.json; the page shows these and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluating.baselines import BaselineAnswer
from pipeline.evaluating.calibration import calibration
from pipeline.evaluating.clips import EvaluatedClip
from pipeline.evaluating.intervals import Groups, weights
from pipeline.evaluating.metrics import paired_difference, score
from pipeline.evaluating.ranking import average_precision
from pipeline.evaluating.selective import coverage_curve, thresholds
from pipeline.evaluating.slices import slices

_KEPT = ("n", "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "per_class")
_SURE = 0.9
_LEAST_SURE_CLIPS = 10


def model_scores(clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
    """Of clips that have a prediction: `score` of the most probable labels, how sure they are, and
    the same by parts. Raises ValueError if there is none."""
    truth = [clip.row.label for clip in clips]
    groups = [clip.row.group_or_path for clip in clips]
    predicted = [clip.prediction.predicted(labels) for clip in clips]
    found = score(truth, predicted, labels, groups)
    chances = np.stack([np.asarray(clip.prediction.probabilities) for clip in clips])
    right = np.array([t == p for t, p in zip(truth, predicted, strict=True)])
    surest = chances.max(axis=1)
    for k, label in enumerate(labels):
        has_label = np.array([t == label for t in truth])
        found["per_class"][label]["average_precision"] = average_precision(has_label, chances[:, k])
    calibrated = calibration(surest, right, groups)
    grouped = Groups(groups)
    of_group = Counter(groups)
    # parts of one file are of one group without anybody saying so
    own = sum(of_group[c.row.group_or_path] == 1 and c.row.group in ("", c.row.path) for c in clips)
    known = own < len(clips)
    largest, n_largest = of_group.most_common(1)[0]
    if any(clip.row.path == largest for clip in clips):
        largest = Path(largest).name
    return {
        **found,
        "groups_known": known,
        "n_without_group": own,
        **weights(grouped.sums(right), grouped.sizes),
        "largest_group": {"name": largest, "n": n_largest} if known else None,
        "calibration": None if calibrated is None else asdict(calibrated),
        "sure": _sure(surest, right),
        "coverage": [asdict(point) for point in coverage_curve(surest, right)],
        "thresholds": [asdict(found) for found in thresholds(surest, right, groups)],
        "slices": slices([clip.row for clip in clips], [clip.prediction for clip in clips], right),
    }


def _sure(probability: np.ndarray, right: np.ndarray) -> dict[str, Any] | None:
    """How often it is right where it is at least 90 % sure; None for fewer than 10 such clips."""
    sure = probability >= _SURE
    if sure.sum() < _LEAST_SURE_CLIPS:
        return None
    return {
        "min_probability": _SURE,
        "n": int(sure.sum()),
        "mean_probability": float(probability[sure].mean()),
        "accuracy": float(right[sure].mean()),
    }


def data_scores(clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
    """What the evaluated set holds, failures included."""
    usable = [clip for clip in clips if clip.prediction.status.usable]
    return {
        "n_files": len({clip.row.path for clip in clips}),
        "seconds": float(sum(clip.prediction.duration_s or 0.0 for clip in usable)),
        "statuses": dict(sorted(Counter(str(clip.prediction.status) for clip in clips).items())),
        "per_label": {label: _of_label(label, clips) for label in labels},
    }


def _of_label(label: str, clips: Sequence[EvaluatedClip]) -> dict[str, Any]:
    own = [clip for clip in clips if clip.row.label == label]
    usable = [clip for clip in own if clip.prediction.status.usable]
    return {
        "clips": len(usable),
        "failed": len(own) - len(usable),
        "groups": len({clip.row.group_or_path for clip in usable}),
        "seconds": float(sum(clip.prediction.duration_s or 0.0 for clip in usable)),
        "with_picture": sum(bool(clip.prediction.has_video) for clip in usable),
        "with_sound": sum(bool(clip.prediction.has_audio) for clip in usable),
    }


def baseline_scores(
    answers: Mapping[str, BaselineAnswer],
    truth: Sequence[str],
    predicted: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """{baseline: its scores, and "difference": the model's accuracy minus its}."""
    right = [t == p for t, p in zip(truth, predicted, strict=True)]
    results = {}
    for name, answer in answers.items():
        whole = score(truth, answer.predicted, labels, groups)
        other = [t == p for t, p in zip(truth, answer.predicted, strict=True)]
        result = {key: whole[key] for key in _KEPT}
        if answer.regularisation_c is not None:
            result["regularisation_c"] = answer.regularisation_c
        if len(set(answer.predicted)) == 1:
            result["always"] = answer.predicted[0]
        result["difference"] = asdict(paired_difference(right, other, groups))
        results[name] = result
    return results
