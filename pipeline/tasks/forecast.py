"""Task forecast: the labels of the next steps, from what is known at the end of a step.

Sequence-to-sequence: every step of a sequence is trained to give its next H labels, and the
temporal model carries its state from the beginning of the file, [B, T, D] → [B, T, 1 + H, K].
Sequence-to-vector: the last step of a window of task.history_steps gives them,
[B, history, D] → [B, 1 + H, K]; a whole file is scored with one such window for each step.

The network also gives the label of the present step, H + 1 rows in all. From these a chain of
segments, fitted on the training labels, makes forecasts of its own. Both are pooled with weights
for each horizon that are chosen on held-out files: where nothing announces what comes next, the
chain is all there is to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN
from pipeline.errors import UserError
from pipeline.metrics.forecast import future_labels
from pipeline.metrics.segment_chain import (
    LARGEST_WEIGHT,
    SegmentChain,
    fit_evidence_weight,
    fit_log_pool,
    log_pool,
)
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.base import HeldOutRows
from pipeline.tasks.in_time import ForecastInTime

if TYPE_CHECKING:
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip

_PRIOR = np.array([0.0, 1.0])  # weights of network and chain that few held-out steps leave alone


class Forecast(ForecastInTime):
    """Labels of the next steps, by the network and a chain of segments."""

    scored_rows = "of the next steps, by the network without the chain of segments"
    report_sections = ("forecast", "data", "leaks", "reproduction")

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """The chain of segments: leave [K, L], following [K, K] and frequency [K]."""
        chain = SegmentChain.fit(self.timelines(rows, labels), len(labels))
        return {name: value.round(9).tolist() for name, value in vars(chain).items()}

    def check_state(self, n_classes: int) -> None:
        self.chain(n_classes)
        if "weights" in self.state:  # a run that is not finished has none
            found = self.array("weights", (self.settings.horizon_steps, 2))
            if max(found.max(), self.array("evidence_weight", ())) > LARGEST_WEIGHT:
                raise ValueError("task_state holds weights that are too large")

    def chain(self, n_classes: int) -> SegmentChain:
        """The chain of the files trained on, K = n_classes."""
        leave = self.array("leave", (n_classes, None))
        if (leave > 1).any():
            raise ValueError("task_state.leave holds numbers that are no probabilities")
        following = self.array("following", (n_classes, n_classes))
        frequency = self.array("frequency", (n_classes,))
        if not (np.allclose(following.sum(axis=1), 1, atol=1e-3) and frequency.any()):
            raise ValueError("task_state.following and frequency hold no probabilities")
        return SegmentChain(leave, following, frequency)

    def fit_postprocessing(
        self, held_out: Sequence[HeldOutRows], labels: Sequence[str]
    ) -> dict[str, Any]:
        """evidence_weight: exponent of what the network says about the present step. weights: of
        network and chain at each horizon, [H, 2]."""
        pairs = []  # of clip and its task, which knows the chain of the files trained on
        for clip in held_out:
            assert isinstance(clip.task, Forecast)
            pairs.append((clip, clip.task))
        rows = [self.by_step(clip.probabilities) for clip in held_out]  # [T, 1 + H, K] each
        present = [self.truth(c.row, len(r), labels) for c, r in zip(held_out, rows, strict=True)]
        chain = pairs[0][1].chain(len(labels))
        now = np.concatenate([of_clip[:, 0] for of_clip in rows])
        weight = round(fit_evidence_weight(chain, now, np.concatenate(present)), 6)
        state = {"evidence_weight": weight}
        experts, futures = [], []
        for (clip, task), timeline in zip(pairs, present, strict=True):
            task = task.with_state(task.state | state)
            experts.append(task.experts(clip.probabilities)[:, :, 1:])
            # a class that was not trained would only make all experts look bad
            unseen = task.chain(len(labels)).frequency == 0
            future = future_labels(timeline, self.settings.horizon_steps)
            futures.append(np.where((future >= 0) & unseen[future], UNKNOWN, future))
        weights = fit_log_pool(np.concatenate(experts, axis=1), np.concatenate(futures), _PRIOR)
        return state | {"weights": weights.round(6).tolist()}

    def experts(self, probabilities: Probabilities) -> Probabilities:
        """Forecasts of network and chain, [2, T, 1 + H, K], from the rows [N, K] of a file."""
        network = self.by_step(probabilities)
        weight, horizon = float(self.array("evidence_weight", ())), self.settings.horizon_steps
        of_chain = self.chain(network.shape[2]).forecast(network[:, 0], horizon, weight)
        return np.stack([network, of_chain])

    def postprocess(self, probabilities: Probabilities) -> Probabilities:
        """The pool of network and chain; the present step is the chain's, which knows the past.

        Raises UserError if the model was never finished.
        """
        if "weights" not in self.state:
            raise UserError("the model has no weights of network and chain; train it again")
        by_horizon = self.array("weights", (self.settings.horizon_steps, 2))
        weights = np.concatenate([[[0.0, 1.0]], by_horizon])  # [1 + H, 2]
        pooled = log_pool(self.experts(probabilities), weights)
        return pooled.reshape(probabilities.shape)

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
        last = self.next_rows(probabilities)[-1]  # [H, K]
        pairs = [(labels[row.argmax()], f"{row.max():.6f}") for row in last]
        return [*pairs[0], *(cell for pair in pairs for cell in pair)]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The labels of the next steps at each step, one per line."""
        return "\n".join(labels[k] for k in self.next_rows(probabilities).argmax(axis=2).ravel())

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
            forecasts.append(self.next_rows(clip.prediction.probabilities).argmax(axis=2))
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
        return forecast_scores(truths, forecasts, groups) | self.described()

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

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        from pipeline.metrics.metrics_schema import checked
        from pipeline.metrics.task_metrics_schema import ForecastMetrics

        return checked(metrics, ForecastMetrics)


TASK = Forecast
