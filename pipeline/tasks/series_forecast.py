"""Task forecast with task.target: numbers of the next steps instead of labels.

The classes are quantile bins of the training numbers, so that network, loss, calibration and fusion
are those of the other tasks; the forecast is the expectation over the bins, Σ p · mean of the bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow, normalise_label
from data_prep.segments import UNKNOWN, step_numbers
from data_prep.settings import SplitSettings
from pipeline.errors import UserError
from pipeline.metrics.classification import accuracy_with_interval
from pipeline.metrics.series import (
    Numbers,
    future_numbers,
    quantile_edges,
    series_baseline_scores,
    series_baselines,
    series_scores,
)
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.in_time import ForecastInTime

if TYPE_CHECKING:
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip

_MOST_BINS = 16


class SeriesForecast(ForecastInTime):
    """Numbers of the next steps; the labels are names of bins, which hold the bins' edges."""

    class_word = "bin"
    scored_rows = "of the bins of the next numbers"
    report_sections = ("series", "data", "leaks", "reproduction")

    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        from data_prep.dataset.splits import check_split_sizes
        from data_prep.status import DataSetError

        if not self.labels(rows):
            raise DataSetError(
                f"no two numbers of task.target={self.settings.target} in the training files are "
                "different, so there is nothing to forecast; `framewave scan` shows which files "
                "cannot be used"
            )
        if split is not None:
            check_split_sizes(rows, split)

    def row_labels(self, row: ManifestRow) -> Sequence[str]:
        """The name of the series for each of its numbers: before training, there are no bins."""
        return [row.label] * max(1, len(row.segments))

    def counted_labels(self, labels: Sequence[str]) -> Sequence[str]:
        return [normalise_label(self.settings.target or "")]

    def labels(self, rows: Sequence[ManifestRow]) -> tuple[str, ...]:
        """Names of the bins in order: those of the model, or else of the training numbers.

        Without a split, as in cross-validation, all numbers give the edges: these only say which
        numbers are one class, while what a bin stands for is fitted on training files.
        """
        if "labels" in self.state:
            return tuple(self.state["labels"])
        usable = [row for row in rows if row.trainable and row.segments]
        known = [row for row in usable if row.split == "train"] or usable
        edges = quantile_edges(self._numbers(known), _MOST_BINS)
        if not edges:
            return ()
        names = [f"{edge:.15g}" for edge in edges]
        between = [f"{low} to {high}" for low, high in pairwise(names)]
        return (f"≤ {names[0]}", *between, f"> {names[-1]}")

    def _numbers(self, rows: Sequence[ManifestRow]) -> Numbers:
        """The known numbers of the steps of all rows, float64 [N]."""
        found = [np.zeros(0)]
        for row in rows:
            last_s = max((segment.start_s for segment in row.segments), default=0.0)
            found.append(self.numbers(row, int(last_s / self.step_s + 1e-6) + 1))
        joined = np.concatenate(found)
        return joined[~np.isnan(joined)]

    def numbers(self, row: ManifestRow, n_steps: int) -> Numbers:
        """Number of each step, float64 [T]; NaN where it is not known."""
        return step_numbers(row.segments, n_steps, self.step_s)

    def truth(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        return _bins(self.numbers(row, n_steps), labels)

    def futures(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        """Bins of the next steps at each step, int64 [T, H], also of steps after the end."""
        return _bins(self.next_numbers(row, n_steps), labels)

    def next_numbers(self, row: ManifestRow, n_steps: int) -> Numbers:
        """Numbers of the next steps at each step, float64 [T, H], also of steps after the end."""
        horizon = self.settings.horizon_steps
        return future_numbers(self.numbers(row, n_steps + horizon), n_steps, horizon)

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """labels: of the bins; centres: mean of the numbers in each bin, [K]."""
        edges, numbers = _edges(labels), self._numbers(rows)
        bins = _bins(numbers, labels)
        # a fold may lack the numbers of a bin, which then stands for its edges
        between = np.convolve([edges[0], *edges, edges[-1]], [0.5, 0.5], "valid")
        centres = [
            float(numbers[bins == k].mean()) if (bins == k).any() else float(between[k])
            for k in range(len(labels))
        ]
        return {"labels": list(labels), "centres": centres}

    def check_state(self, n_classes: int) -> None:
        centres = self.state["centres"]
        if not (
            len(self.state["labels"]) == len(centres) == n_classes
            and np.isfinite(np.asarray(centres, np.float64)).all()
            and np.isfinite(_edges(self.state["labels"])).all()
        ):
            raise ValueError("task_state does not hold a centre for each bin")

    def forecast(self, probabilities: Probabilities) -> Numbers:
        """Expected numbers of the next steps at each step [T, H], of rows [T · (1 + H), K]."""
        return np.asarray(self.next_rows(probabilities) @ np.array(self.state["centres"]))

    def columns(self, labels: Sequence[str]) -> list[str]:
        return ["predicted", *(f"next_{h}" for h in range(1, self.rows_per_step))]

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        """The number of the step after the end of the file, then of each of the next H steps."""
        if probabilities is None:
            return [""] * self.rows_per_step
        last = [f"{number:.6g}" for number in self.forecast(probabilities)[-1]]
        return [last[0], *last]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The numbers of the next steps at each step, one per line."""
        return _text(self.forecast(probabilities))

    def _parsed(self, decision: str) -> Numbers:
        numbers = np.array(decision.split("\n"), np.float64)
        return numbers.reshape(-1, self.settings.horizon_steps)  # [T, H]

    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of the forecast numbers that are in the right bin, of the known ones."""
        forecast, labels = self._parsed(decision), self.state["labels"]
        truth = self.futures(row, len(forecast), labels)
        right = (_bins(forecast, labels) == truth)[truth != UNKNOWN]
        return float(right.mean()) if right.size else 0.0

    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        """MAE in all and by horizon; accuracy: share of the numbers in the right bin."""
        forecasts = []
        for clip in clips:
            assert clip.prediction.probabilities is not None
            forecasts.append(self.forecast(clip.prediction.probabilities))
        truths = self._truths([clip.row for clip in clips], forecasts)
        if all(np.isnan(truth).all() for truth in truths):
            raise UserError(
                "no evaluated file has a step with a known number after it, so no forecast can be "
                "scored"
            )
        true, found = (_bins(np.concatenate(each), labels) for each in (truths, forecasts))
        groups = [clip.row.group_or_path for clip in clips]
        known = true != UNKNOWN
        of_row = np.repeat(np.array(groups, object), [truth.size for truth in truths])
        accuracy, interval = accuracy_with_interval(
            (true == found)[known], list(of_row[known.ravel()])
        )
        return series_scores(truths, forecasts, groups) | self.described() | {
            "target": self.settings.target, "accuracy": accuracy, "accuracy_interval": interval,
        }  # fmt: skip

    def _truths(self, rows: Sequence[ManifestRow], forecasts: Sequence[Numbers]) -> list[Numbers]:
        """The true futures [T, H] of files with these forecasts."""
        return [self.next_numbers(row, len(f)) for row, f in zip(rows, forecasts, strict=True)]

    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        from pipeline.metrics.baselines import BaselinePrediction

        past, unseen = (
            [self.numbers(item.row, item.sample.n_steps) for item in items]
            for items in (known, test)
        )
        found = series_baselines(past, unseen, self.settings.horizon_steps)
        return {
            name: BaselinePrediction([_text(future) for future in futures])
            for name, futures in found.items()
        }

    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        model = [self._parsed(decision) for decision in decisions]
        baselines = {
            name: [self._parsed(decision) for decision in baseline.predicted]
            for name, baseline in predictions.items()
        }
        groups = [row.group_or_path for row in rows]
        return series_baseline_scores(self._truths(rows, model), model, baselines, groups)

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        from pipeline.metrics.metrics_schema import checked
        from pipeline.metrics.task_metrics_schema import SeriesMetrics

        return checked(metrics, SeriesMetrics)


def _edges(labels: Sequence[str]) -> list[float]:
    """Upper edges of all bins but the last, from "≤ 12.5", "12.5 to 13.1", …."""
    return [float(label.split(" ")[-1]) for label in labels[:-1]]


def _bins(numbers: Numbers, labels: Sequence[str]) -> Classes:
    """Index of the bin of each number, int64 of the same shape; UNKNOWN for NaN."""
    found = np.searchsorted(_edges(labels), numbers)
    return np.where(np.isnan(numbers), UNKNOWN, found).astype(np.int64)


def _text(futures: Numbers) -> str:
    return "\n".join(map(repr, futures.ravel().tolist()))


TASK = SeriesForecast
