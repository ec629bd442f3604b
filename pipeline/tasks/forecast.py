"""Task forecast: the labels of the next steps, from what is known at the end of a step.

Sequence-to-sequence: every step of a sequence is trained to give its next H labels, and the
temporal model carries its state from the beginning of the file, [B, T, D] → [B, T, H, K].
Sequence-to-vector: the last step of a window of task.history_steps gives them,
[B, history, D] → [B, H, K]; a whole file is scored with one such window for each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings, TaskSettings
from pipeline.errors import UserError
from pipeline.metrics.forecast import future_labels
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.in_time import TaskInTime

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.base import BuildHead
    from models.settings import ModelSettings
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip


class Forecast(TaskInTime):
    """H rows of logits for each step, for the labels 1 … H steps later."""

    name = "forecast"
    from_last_step = True
    report_sections = ("forecast", "data", "leaks", "reproduction")

    def __init__(self, settings: TaskSettings, step_s: float) -> None:
        super().__init__(settings, step_s)
        self.rows_per_step = settings.horizon_steps
        if settings.form == "sequence_to_vector":
            self.history_steps = settings.history_steps

    def check_settings(self, clip: ClipSettings, model: ModelSettings) -> None:
        super().check_settings(clip, model)
        if not clip.causal:
            raise UserError(
                "task=forecast needs clip.causal=true, without which the features of a step know "
                "what comes shortly after it; a folder that was prepared without it has to be "
                "prepared again, into another --work"
            )
        if model.bidirectional:
            raise UserError(
                "task=forecast cannot use model.bidirectional=true: it reads the future"
            )

    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        import torch

        return torch.from_numpy(self.futures(row, n_steps, labels).ravel())  # [T · H]

    def futures(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        """Class indices of the next steps at each step, int64 [T, H]; UNKNOWN past the end."""
        return future_labels(self.truth(row, n_steps, labels), self.settings.horizon_steps)

    def build_head(self) -> BuildHead:
        from models.heads.step import build_step_head

        return partial(build_step_head, rows_per_step=self.rows_per_step)

    def columns(self, labels: Sequence[str]) -> list[str]:
        steps = range(1, self.rows_per_step + 1)
        later = [name for h in steps for name in (f"next_{h}", f"probability_{h}")]
        return ["predicted", "probability", *later]

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        """The label of the step after the end of the file, then of each of the next H steps."""
        if probabilities is None:
            return [""] * (2 + 2 * self.rows_per_step)
        last = probabilities[-self.rows_per_step :]  # [H, K]
        pairs = [(labels[row.argmax()], f"{row.max():.6f}") for row in last]
        return [*pairs[0], *(cell for pair in pairs for cell in pair)]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The labels of the next steps at each step, one per line."""
        return "\n".join(labels[k] for k in probabilities.argmax(axis=1))

    def _parsed(self, decision: str, labels: Sequence[str]) -> Classes:
        number = {label: k for k, label in enumerate(labels)}
        found = np.array([number[label] for label in decision.split("\n")], np.int64)
        return found.reshape(-1, self.rows_per_step)  # [T, H]

    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of the future labels that are correct, of those that are known."""
        labels = sorted({*decision.split("\n"), self.background, *(s.label for s in row.segments)})
        predicted = self._parsed(decision, labels)
        truth = self.futures(row, len(predicted), labels)
        known = truth >= 0
        return float((truth == predicted)[known].mean()) if known.any() else 0.0

    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        from pipeline.metrics.forecast import forecast_scores

        forecasts = []
        for clip in clips:
            assert clip.prediction.probabilities is not None
            of_rows = clip.prediction.probabilities.argmax(axis=1)
            forecasts.append(of_rows.reshape(-1, self.rows_per_step))
        truths = [
            self.futures(clip.row, len(forecast), labels)
            for clip, forecast in zip(clips, forecasts, strict=True)
        ]
        if not any((truth >= 0).any() for truth in truths):
            raise UserError(
                "no evaluated file has a step with a known label after it, so no forecast can be "
                "scored"
            )
        groups = [clip.row.group_or_path for clip in clips]
        return forecast_scores(truths, forecasts, groups) | {
            "step_s": self.step_s, "horizon_steps": self.rows_per_step,
            "history_steps": self.history_steps, "form": self.settings.form,
        }  # fmt: skip

    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        from pipeline.metrics.baselines import BaselinePrediction
        from pipeline.metrics.forecast import chain_forecasts

        # the baselines know the true past, even of a class that no known file has
        labels = self.labels([item.row for item in (*known, *test)])
        past, unseen = (
            [self.truth(item.row, item.sample.n_steps, labels) for item in items]
            for items in (known, test)
        )
        found = chain_forecasts(past, unseen, len(labels), self.rows_per_step)
        return {
            name: BaselinePrediction(
                ["\n".join(labels[k] for k in future.ravel()) for future in futures]
            )
            for name, futures in found.items()
        }

    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        from pipeline.metrics.forecast import baseline_scores

        model = [self._parsed(decision, labels) for decision in decisions]
        truths = [
            self.futures(row, len(forecast), labels)
            for row, forecast in zip(rows, model, strict=True)
        ]
        baselines = {
            name: [self._parsed(decision, labels) for decision in baseline.predicted]
            for name, baseline in predictions.items()
        }
        return baseline_scores(truths, model, baselines, [row.group_or_path for row in rows])


TASK = Forecast
