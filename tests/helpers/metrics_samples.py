"""Metrics of an imagined evaluation, for tests of what is said about them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.manifest import ManifestRow, whole_label
from data_prep.settings import TaskSettings
from data_prep.status import Status
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.evaluated_clips import write_table
from pipeline.metrics.metrics_schema import METRICS_VERSION
from pipeline.metrics.scoring import EvaluatedClip, data_scores, model_scores
from pipeline.storage.predictions import Prediction
from pipeline.tasks import get_task

TASK = get_task(TaskSettings())


LABELS = ("cat", "dog", "owl")

REPRODUCTION: dict[str, Any] = {
    "model": "0123456789ab",
    "frame_encoder": {
        "name": "efficientnet_lite2", "weights_digest": "ab", "n_features": 1280,
        "backend": "openvino-cpu", "precision": "float32",
    },
    "members": 1,
    "environment_now": {"python": "3.11"},
}  # fmt: skip

AUDIT: dict[str, Any] = {
    "digest": "0", "version": 1, "n_clips": 240, "n_compared": 240,
    "trained_on": 0, "with_training": True, "prepared": True,
    "leaks": {"n": 0, "example": None}, "conflicts": {"n": 0, "example": None},
    "others": {"n": 0, "example": None},
    "by_kind": {"same_bytes": 0, "same_sound": 0, "same_picture": 0, "same_recording": 0},
    "across_folds": False, "groups_joined": [0, 0], "groups_left": 40,
    "judged": {"n": 240, "n_leaking": 0, "example": None},
    "flattery": {"random": 0.8, "grouped": 0.79, "n_clips": 240, "n_groups": 40},
}  # fmt: skip


def clips(
    n: int = 240,
    n_groups: int = 40,
    share_right: float = 0.8,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    sure: tuple[float, float] = (0.7, 0.9),
) -> list[EvaluatedClip]:
    """Clips whose labels go round, right with this share, as sure as that."""
    draw = np.random.default_rng(seed)
    made = []
    for k in range(n):
        truth = k % len(labels)
        said = truth if draw.random() < share_right else (truth + 1) % len(labels)
        chances = np.full(len(labels), 0.0)
        chances[said] = draw.uniform(*sure)
        chances += (1 - chances.sum()) / len(labels)
        group = f"g{k % n_groups}"
        row = ManifestRow(
            path=f"/videos/{k:05d}.mp4", id=str(k), label=labels[truth], group=group, split="test",
            extra={"weather": "rain" if k % 4 else "sun"},
        )  # fmt: skip
        prediction = Prediction(row.path, Status.OK, "", chances, True, k % 2 == 0, 4.0 + k % 20)
        made.append(EvaluatedClip(row, prediction, None))
    return made


def metrics_of(
    judged: list[EvaluatedClip], labels: tuple[str, ...] = LABELS, baseline: float = 0.5
) -> dict[str, Any]:
    """As `evaluate` makes them, beside baselines of this accuracy."""
    found = model_scores(judged, labels)
    gain = found["accuracy"] - baseline
    one = {
        key: copy.deepcopy(found[key])
        for key in ("n", "accuracy_interval", "macro_f1", "macro_f1_interval", "per_class")
    }
    difference = {"mean": gain, "low": gain - 0.08, "high": gain + 0.08, "n_groups": 40}
    simple = one | {"accuracy": baseline, "difference": difference}
    third = one | {"accuracy": 1 / len(labels), "difference": difference}
    return {
        "version": METRICS_VERSION,
        **found,
        "baselines": {
            "majority": third | {"always": labels[0]},
            "presence": third,
            "logistic_mean": simple,
        },
        "evaluated_on": "test split",
        "n_failed": 0,
        "modalities": "both",
        "model": "0123456789ab",
        "modality_ablation": {"masked": None, "trained_apart": []},
        "data": data_scores(judged, labels, whole_label),
        "audit": copy.deepcopy(AUDIT),
        "reproduction": copy.deepcopy(REPRODUCTION),
    }


def evaluation_of(
    run: Path, judged: list[EvaluatedClip], labels: tuple[str, ...] = LABELS
) -> Evaluation:
    """With everything a page needs."""
    return Evaluation(run, "the test split", TASK, labels, judged, metrics_of(judged, labels))


def kept_evaluation(
    run: Path, judged: list[EvaluatedClip], labels: tuple[str, ...] = LABELS, **changes: Any
) -> Path:
    """A run folder with an evaluation's table and metrics."""
    write_table(run / "eval" / "predictions.csv", judged, TASK, labels, "m")
    known = [clip for clip in judged if clip.prediction.probabilities is not None]
    metrics = metrics_of(known or clips(), labels) | {"model": "m"} | changes
    (run / "eval" / "metrics.json").write_text(json.dumps(metrics))
    return run
