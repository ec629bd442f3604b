"""The model's scores and the baselines' beside them, on the same clips, for metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.evaluating.baselines import BaselineAnswer
from pipeline.evaluating.calibration import calibration
from pipeline.evaluating.metrics import paired_difference, score
from pipeline.records.predictions import Probabilities

_KEPT = ("n", "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "per_class")


def model_scores(
    truth: Sequence[str],
    probabilities: Sequence[Probabilities],
    labels: Sequence[str],
    groups: Sequence[str],
) -> dict[str, Any]:
    """`score` of the most probable labels, and "calibration" (None for fewer than 20 clips)."""
    chances = np.stack(probabilities)
    predicted = [labels[int(k)] for k in chances.argmax(axis=1)]
    right = np.array([t == p for t, p in zip(truth, predicted, strict=True)])
    found = calibration(chances.max(axis=1), right)
    return {
        **score(truth, predicted, labels, groups),
        "calibration": None if found is None else asdict(found),
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
        result["difference"] = asdict(paired_difference(right, other, groups))
        results[name] = result
    return results
