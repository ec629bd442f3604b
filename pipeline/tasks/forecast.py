"""Task forecast: the labels of the next steps, from what is known at the end of a step.

Sequence-to-sequence: every step of a sequence is trained to give its next H labels, and the
temporal model carries its state from the beginning of the file, [B, T, D] → [B, T, H, K].
Sequence-to-vector: the last step of a window of task.history_steps gives them,
[B, history, D] → [B, H, K]; a whole file is scored with one such window for each step.

The network also gives the label of the present step, H + 1 rows in all. From these a chain of
segments, fitted on the training labels, makes forecasts of its own. Both are pooled with weights
for each horizon that are chosen on held-out files: where nothing announces what comes next, the
chain is all there is to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN
from data_prep.settings import ClipSettings, TaskSettings
from pipeline.errors import UserError
from pipeline.metrics.forecast import future_labels
from pipeline.metrics.segment_chain import SegmentChain, fit_log_pool, log_pool
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.base import HeldOutRows
from pipeline.tasks.in_time import TaskInTime

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.base import BuildHead
    from models.settings import ModelSettings
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip

_CHAIN = ("leave", "following", "frequency")  # of the state


class Forecast(TaskInTime):
    """1 + H rows of logits for each step, for its label and those 1 … H steps later."""

    name = "forecast"
    from_last_step = True
    report_sections = ("forecast", "data", "leaks", "reproduction")

    def __init__(self, settings: TaskSettings, step_s: float) -> None:
        super().__init__(settings, step_s)
        self.rows_per_step = 1 + settings.horizon_steps
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
        return self._targets(row, np.full(n_steps, UNKNOWN), labels)

    def training_targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        return self._targets(row, self.truth(row, n_steps, labels), labels)

    def _targets(self, row: ManifestRow, present: Classes, labels: Sequence[str]) -> Tensor:
        import torch

        futures = self.futures(row, present.size, labels)
        rows = np.concatenate([present[:, None], futures], axis=1).ravel()  # [T · (1 + H)]
        return torch.from_numpy(rows)

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """The chain of segments: leave [K, L], following [K, K] and frequency [K]."""
        chain = SegmentChain.fit(self.timelines(rows, labels), len(labels))
        return {name: value.round(6).tolist() for name, value in vars(chain).items()}

    def fit_postprocessing(
        self, held_out: Sequence[HeldOutRows], labels: Sequence[str]
    ) -> dict[str, Any]:
        """present_weight: exponent of the present step's probabilities, which calibrates them.
        weights: of network and chain at each horizon, [H, 2]."""
        rows = [self._by_step(clip.probabilities) for clip in held_out]  # [T, 1 + H, K] each
        present = [self.truth(c.row, len(r), labels) for c, r in zip(held_out, rows, strict=True)]
        truth, now = np.concatenate(present)[:, None], np.concatenate(rows)[None, :, :1]
        state = {"present_weight": float(fit_log_pool(now, truth)[0, 0].round(6))}
        experts = [
            clip.task.with_state(clip.task.state | state).experts(clip.probabilities)[:, :, 1:]
            for clip in held_out
            if isinstance(clip.task, Forecast)
        ]
        futures = [future_labels(timeline, self.settings.horizon_steps) for timeline in present]
        weights = fit_log_pool(np.concatenate(experts, axis=1), np.concatenate(futures))
        return state | {"weights": weights.round(6).tolist()}

    def experts(self, probabilities: Probabilities) -> Probabilities:
        """Forecasts of network and chain, [2, T, 1 + H, K], from the rows [N, K] of a file."""
        chain = SegmentChain(*(np.array(self.state[name]) for name in _CHAIN))
        network = self._by_step(probabilities)
        present = log_pool(network[None, :, :1], np.array([[self.state["present_weight"]]]))
        return np.stack([network, chain.forecast(present[:, 0], self.settings.horizon_steps)])

    def postprocess(self, probabilities: Probabilities) -> Probabilities:
        """The pool of network and chain; the present step is the chain's, which knows the past."""
        weights = np.array([[0.0, 1.0], *self.state["weights"]])  # [1 + H, 2]
        pooled = log_pool(self.experts(probabilities), weights)
        return pooled.reshape(probabilities.shape)

    def _by_step(self, rows: Probabilities) -> Probabilities:
        return rows.reshape(-1, self.rows_per_step, rows.shape[1])  # [T, 1 + H, K]

    def _next(self, rows: Probabilities) -> Probabilities:
        """The rows of the next H steps at each step [T, H, K], of rows [T · (1 + H), K]."""
        return self._by_step(rows)[:, 1:]

    def futures(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        """Class indices of the next steps at each step, int64 [T, H]; UNKNOWN past the end."""
        return future_labels(self.truth(row, n_steps, labels), self.settings.horizon_steps)

    def build_head(self) -> BuildHead:
        from models.heads.step import build_step_head

        return partial(build_step_head, rows_per_step=self.rows_per_step)

    def columns(self, labels: Sequence[str]) -> list[str]:
        steps = range(1, self.rows_per_step)
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
            return [""] * (2 + 2 * self.settings.horizon_steps)
        last = self._next(probabilities)[-1]  # [H, K]
        pairs = [(labels[row.argmax()], f"{row.max():.6f}") for row in last]
        return [*pairs[0], *(cell for pair in pairs for cell in pair)]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The labels of the next steps at each step, one per line."""
        return "\n".join(labels[k] for k in self._next(probabilities).argmax(axis=2).ravel())

    def _parsed(self, decision: str, labels: Sequence[str]) -> Classes:
        number = {label: k for k, label in enumerate(labels)}
        found = np.array([number[label] for label in decision.split("\n")], np.int64)
        return found.reshape(-1, self.settings.horizon_steps)  # [T, H]

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
            forecasts.append(self._next(clip.prediction.probabilities).argmax(axis=2))
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
            "step_s": self.step_s, "horizon_steps": self.settings.horizon_steps,
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
        found = chain_forecasts(past, unseen, len(labels), self.settings.horizon_steps)
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
