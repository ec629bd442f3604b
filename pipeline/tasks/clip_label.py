"""Task clip_label: single-label classification of whole clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow, whole_label
from data_prep.settings import SplitSettings
from pipeline.storage.predictions import UNSURE, Classes, Probabilities
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.heads.base import BuildHead
    from pipeline.config import TrainSettings
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip


class ClipLabel(Task):
    """Pooling over time, and cross-entropy over K labels."""

    name = "clip_label"
    per_clip = True  # so training can use mixup
    report_sections = (
        "answer", "data", "baselines", "labels", "confusion", "calibration", "modalities",
        "subgroups", "leaks", "errors", "clips", "reproduction",
    )  # fmt: skip

    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        from data_prep.dataset.splits import check_labels, check_trainable

        if split is None:  # folds: no split needs clips of its own
            check_labels(rows, max_labels)
        else:
            check_trainable(rows, max_labels, split)

    def row_labels(self, row: ManifestRow) -> Sequence[str]:
        return whole_label(row)

    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([labels.index(row.label)])  # [1]

    def build_head(self) -> BuildHead:
        from models.heads.clip import build_clip_head

        return build_clip_head

    def build_loss(self, class_weights: list[float], settings: TrainSettings) -> nn.Module:
        from models.losses import WeightedCrossEntropy

        return WeightedCrossEntropy(class_weights, settings.label_smoothing)

    def columns(self, labels: Sequence[str]) -> list[str]:
        return ["predicted", "probability", *(f"p_{label}" for label in labels)]

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        if probabilities is None:
            return [""] * (2 + len(labels))
        highest = probabilities.max()
        predicted = self.decision(probabilities, labels) if highest >= min_probability else UNSURE
        # six digits: `parse_cells` reads them back for the scores of a crossval
        return [predicted, f"{highest:.6f}", *(f"{p:.6f}" for p in probabilities)]

    def parse_cells(self, cells: Mapping[str, str], labels: Sequence[str]) -> Probabilities:
        return np.array([float(cells[f"p_{label}"]) for label in labels])  # [K]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        # without the threshold: evaluations score every clip
        return labels[int(np.argmax(probabilities))]

    def decision_score(self, row: ManifestRow, decision: str) -> float:
        return float(decision == row.label)

    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        from pipeline.metrics.scoring import model_scores

        return model_scores(clips, labels)

    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        from pipeline.metrics.baselines import LabelledClips, run_baselines

        clips = LabelledClips(
            [item.sample for item in known],
            [item.row.label for item in known],
            [item.row.group_or_path for item in known],
        )
        return dict(run_baselines(clips, [item.sample for item in test]))

    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        from pipeline.metrics.scoring import baseline_scores

        groups = [row.group_or_path for row in rows]
        return baseline_scores(predictions, [row.label for row in rows], decisions, groups, labels)

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        from pipeline.metrics.metrics_schema import checked

        return checked(metrics)


TASK = ClipLabel
