"""Task events: the ordered list of what happens in a clip (vector-to-sequence).

A list is that of a file's labelled segments, or of the column `events` ("door;dog;door"). Its
classes are the labels and, as the last one, an end mark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, step_labels
from data_prep.settings import SplitSettings
from data_prep.video.sampling import step_count
from pipeline.metrics.segment_chain import count_transitions
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.in_time import TaskInTime

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.base import BuildHead
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip

END = "(end)"
_BETWEEN = ";"
_PARTS = 8  # of each clip, in addition to the whole


class Events(TaskInTime):
    """A decoder writes the labels one after the other, at most task.max_events of them."""

    name = "events"
    decodes = True
    whole_clips = True
    scored_rows = "of single events, with the true ones before each given"
    report_sections = ("events", "data", "leaks", "reproduction")

    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        from data_prep.status import DataSetError

        for row in rows:
            if not row.trainable:
                continue
            events = self.events_of(row)
            if len(events) > self.settings.max_events:
                raise DataSetError(
                    f"{row.path} has {len(events)} events, more than task.max_events="
                    f"{self.settings.max_events}; raise it, or label parts of the file"
                )
            bad = next((label for label in events if _BETWEEN in label or label == END), None)
            if bad is not None:
                raise DataSetError(
                    f"{row.path}: an event cannot be called '{bad}'; lists separate events by "
                    f"'{_BETWEEN}' and end with {END}"
                )
        if len(self.labels(rows)) < 2:
            raise DataSetError("no file has an event, so there is nothing to learn")
        super().check_rows(rows, max_labels, split)

    def events_of(self, row: ManifestRow) -> list[str]:
        """The labels of a row's events in their order, without background."""
        if row.segments:
            # of a file that was read in part, only what was read
            end_s = row.planned_duration_s
            events = [
                segment.label
                for segment in row.segments
                if end_s is None or segment.start_s < end_s
            ]
        else:
            events = [part.strip() for part in row.label.split(_BETWEEN)]
        return [label for label in events if label and label != self.background]

    def row_labels(self, row: ManifestRow) -> Sequence[str]:
        return self.events_of(row) or [self.background]

    def counted_labels(self, labels: Sequence[str]) -> Sequence[str]:
        return [label for label in labels if label != END]

    def labels(self, rows: Sequence[ManifestRow]) -> tuple[str, ...]:
        found = {label for row in rows if row.trainable for label in self.events_of(row)}
        return (*sorted(found), END)

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """transitions: probability of each step's class after each, [K, K], if times are known."""
        timelines = [
            self.step_targets(row, step_count(row.planned_duration_s, 1 / self.step_s), labels)
            for row in rows
            if row.segments and row.planned_duration_s
        ]
        if not timelines:
            return {}
        transitions = count_transitions([each.numpy() for each in timelines], len(labels))
        return {"transitions": transitions.tolist()}

    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([labels.index(label) for label in (*self.events_of(row), END)])

    def step_targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        import torch

        if not row.segments:  # a list without times, or nothing happens
            nothing = row.label == self.background
            return torch.full((n_steps,), len(labels) - 1 if nothing else UNKNOWN)
        between = UNKNOWN if self.settings.unlabelled == "ignore" else len(labels) - 1
        parts = [
            replace(each, label=END) if each.label == self.background else each
            for each in row.segments
        ]
        known = [each for each in parts if each.label in labels]
        return torch.from_numpy(step_labels(known, labels, n_steps, self.step_s, between))

    def training_parts(
        self, row: ManifestRow, n_steps: int, labels: Sequence[str], rng: np.random.Generator
    ) -> list[tuple[int, int, Tensor]]:
        """Random runs of successive events, cut between events: more lists than there are clips."""
        import torch

        total_s = n_steps * self.step_s
        events = [e for e in row.segments if e.label in labels and e.start_s < total_s]
        # a cut before each event and one at the end, anywhere in the gap
        ends_s = [0.0, *(min(each.end_s, total_s) for each in events)]
        starts_s = [*(each.start_s for each in events), total_s]
        parts = []
        for _ in range(_PARTS if events else 0):
            first, last = sorted(rng.integers(0, len(events) + 1, 2).tolist())
            cuts = [rng.uniform(ends_s[k], max(ends_s[k], starts_s[k])) for k in (first, last)]
            start, end = (min(n_steps, round(cut / self.step_s)) for cut in cuts)
            if end > start:
                names = [each.label for each in events[first:last]]
                targets = torch.tensor([labels.index(name) for name in (*names, END)])
                parts.append((start, end, targets))
        return parts

    def build_head(self) -> BuildHead:
        from models.heads.decoder import build_event_decoder

        return build_event_decoder

    def columns(self, labels: Sequence[str]) -> list[str]:
        return ["predicted", "probability", "n_events"]

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        """The list, its probability (the product over its events and the end mark), its length."""
        if probabilities is None:
            return ["", "", ""]
        found = probabilities.argmax(axis=1) if classes is None else classes
        probability = float(np.prod(probabilities[np.arange(found.size), found]))
        return [
            self.decision(probabilities, labels, found), f"{probability:.6f}", str(found.size - 1),
        ]  # fmt: skip

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The labels in their order: "door;dog;door"."""
        found = probabilities.argmax(axis=1) if classes is None else classes
        return _BETWEEN.join(labels[k] for k in found[:-1])

    def decision_score(self, row: ManifestRow, decision: str) -> float:
        return float(_parsed(decision) == self.events_of(row))

    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        predicted = []
        for clip in clips:
            assert clip.prediction.probabilities is not None
            predicted.append(
                self.decision(clip.prediction.probabilities, labels, clip.prediction.classes)
            )
        return self._scores([clip.row for clip in clips], predicted)

    def _scores(self, rows: Sequence[ManifestRow], decisions: Sequence[str]) -> dict[str, Any]:
        from pipeline.metrics.segments import event_list_scores

        pairs = [
            (self.events_of(row), _parsed(each)) for row, each in zip(rows, decisions, strict=True)
        ]
        return event_list_scores(pairs, [row.group_or_path for row in rows])

    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        """most_frequent_list, and where segments are known, the order of the classes of the
        baselines of steps."""
        from pipeline.metrics.baselines import BaselinePrediction

        lists = Counter(_BETWEEN.join(self.events_of(item.row)) for item in known)
        most = sorted(lists, key=lambda text: (-lists[text], text))[0]
        found: dict[str, Any] = {"most_frequent_list": BaselinePrediction([most] * len(test))}
        if any(item.row.segments for item in known):
            steps = self.step_baselines(known, test)
            for name in ("logistic_step", "logistic_window", "logistic_clips"):
                if name in steps:
                    orders = [self._in_order(each) for each in steps[name].predicted]
                    found[name] = BaselinePrediction(orders)
        return found

    def _in_order(self, decision: str) -> str:
        """The classes of steps, one per line, as a list of events."""
        runs = [label for label, _ in groupby(decision.split("\n"))]
        return _BETWEEN.join(label for label in runs if label != self.background)

    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        from pipeline.metrics.classification import paired_difference

        groups = [row.group_or_path for row in rows]

        def exact(each: Sequence[str]) -> list[float]:
            return [self.decision_score(row, one) for row, one in zip(rows, each, strict=True)]

        return {
            name: self._scores(rows, baseline.predicted)
            | {
                "difference": paired_difference(
                    exact(decisions), exact(baseline.predicted), groups
                ).model_dump()
            }
            for name, baseline in predictions.items()
        }

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        from pipeline.metrics.metrics_schema import checked
        from pipeline.metrics.task_metrics_schema import EventsMetrics

        return checked(metrics, EventsMetrics)


def _parsed(decision: str) -> list[str]:
    return decision.split(_BETWEEN) if decision else []


TASK = Events
