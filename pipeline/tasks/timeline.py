"""Task timeline: one label for each time step (sequence-to-sequence), decoded into segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, LabelledSegment
from data_prep.settings import ClipSettings
from pipeline.errors import UserError
from pipeline.metrics.segment_chain import count_transitions
from pipeline.metrics.segments import segments
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.in_time import TaskInTime

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.heads.base import BuildHead
    from models.settings import ModelSettings
    from pipeline.config import TrainSettings
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip


_AGREEMENT_SCORES = (
    "n", "accuracy", "accuracy_interval", "macro_f1", "segment_f1", "edit", "segment_ratio",
)  # fmt: skip
_BASELINE_SCORES = (
    "n", "accuracy", "accuracy_interval", "macro_f1", "segment_f1", "edit", "event_f1",
    "segment_ratio", "boundary_errors",
)  # fmt: skip


def labels_of_all(rows: Sequence[ManifestRow], labels: Sequence[str]) -> list[str]:
    """The labels, and after them those that only further annotators of these rows use."""
    added = {segment.label for row in rows for segment in row.other_segments} - set(labels)
    return [*labels, *sorted(added)]


class Timeline(TaskInTime):
    """A row of logits for each step; the most probable sequence of classes gives the segments."""

    name = "timeline"
    has_segments = True
    scored_rows = "of single steps"
    report_sections = ("timeline", "data", "leaks", "reproduction")

    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        import torch

        return torch.from_numpy(self.truth(row, n_steps, labels))  # [T]

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """transitions: probability of each class after each, [K, K]."""
        transitions = count_transitions(self.timelines(rows, labels), len(labels))
        return {"transitions": transitions.tolist()}

    def check_settings(self, clip: ClipSettings, model: ModelSettings) -> None:
        super().check_settings(clip, model)
        if clip.causal and model.refinement_stages:
            raise UserError(
                f"model.refinement_stages={model.refinement_stages} reads later steps, which "
                "clip.causal=true excludes; leave it out"
            )

    def build_head(self) -> BuildHead:
        from models.heads.step import build_step_head

        return build_step_head

    def build_loss(self, class_weights: list[float], settings: TrainSettings) -> nn.Module:
        from models.losses import SmoothedCrossEntropy

        return SmoothedCrossEntropy(
            class_weights, settings.label_smoothing, settings.step_smoothing
        )

    def columns(self, labels: Sequence[str]) -> list[str]:
        return ["predicted", "probability", "n_segments"]

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        """The class of most steps, the mean probability of the predicted classes, and the number of
        segments."""
        if probabilities is None:
            return ["", "", ""]
        found = self.decode(probabilities) if classes is None else classes
        most = labels[Counter(found.tolist()).most_common(1)[0][0]]
        mean = probabilities[np.arange(found.size), found].mean()
        return [most, f"{mean:.6f}", str(len(segments(found, self._background_index(labels))))]

    def decode(self, probabilities: Probabilities) -> Classes:
        """Class index of each step, int64 [T]."""
        from models.decoding import viterbi

        if "transitions" in self.state:
            return viterbi(probabilities, self.array("transitions", (None, None)))
        found: Classes = probabilities.argmax(axis=1)
        return found

    def predicted_segments(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> list[tuple[LabelledSegment, float]]:
        """Segments with the mean probability of their class; without those of the background."""
        found = self.decode(probabilities) if classes is None else classes
        return [
            (
                LabelledSegment(run.start * self.step_s, run.end * self.step_s, labels[run.label]),
                float(probabilities[run.start : run.end, run.label].mean()),
            )
            for run in segments(found, self._background_index(labels))
        ]

    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The class of each step, one per line."""
        found = self.decode(probabilities) if classes is None else classes
        return "\n".join(labels[k] for k in found)

    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of the steps of known label that are correct."""
        predicted = decision.split("\n")
        names = sorted({*predicted, self.background, *(s.label for s in row.segments)})
        truth = self.truth(row, len(predicted), names)
        known = truth != UNKNOWN
        right = np.array([names[k] == name for k, name in zip(truth, predicted, strict=True)])
        return float(right[known].mean()) if known.any() else 0.0

    def predicted_classes(self, clip: EvaluatedClip) -> Classes:
        """Predicted class index of each step of an evaluated file, int64 [T]."""
        prediction = clip.prediction
        assert prediction.probabilities is not None
        if prediction.classes is not None:
            return prediction.classes
        return self.decode(prediction.probabilities)

    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        from pipeline.metrics.segments import timeline_scores

        pairs = []
        for clip in clips:
            predicted = self.predicted_classes(clip)
            pairs.append((self.truth(clip.row, predicted.size, labels), predicted))
        groups = [clip.row.group_or_path for clip in clips]
        found = timeline_scores(pairs, groups, labels, self.background, self.step_s)
        return found | {"agreement": self._agreement(clips, labels)}

    def other_timelines(
        self, row: ManifestRow, n_steps: int, labels: Sequence[str]
    ) -> dict[str, Classes]:
        """Class index of each step by each further annotator, int64 [T]."""
        by: dict[str, list[LabelledSegment]] = {}
        for segment in row.other_segments:
            by.setdefault(segment.annotator, []).append(segment)
        return {
            name: self.truth(replace(row, segments=tuple(of_one)), n_steps, labels)
            for name, of_one in sorted(by.items())
        }

    def _agreement(
        self, clips: Sequence[EvaluatedClip], labels: Sequence[str]
    ) -> dict[str, Any] | None:
        """Scores of further annotators against the labels, and of the model on the same files."""
        from pipeline.metrics.segments import timeline_scores

        several = [clip for clip in clips if clip.row.other_segments]
        names = labels_of_all([clip.row for clip in several], labels)
        pairs: dict[str, list[tuple[Classes, Classes, str]]] = {"people": [], "model": []}
        for clip in several:
            predicted = self.predicted_classes(clip)
            truth = self.truth(clip.row, predicted.size, names)
            others = self.other_timelines(clip.row, predicted.size, names).values()
            # steps that both have labelled
            both = [(np.where(each == UNKNOWN, UNKNOWN, truth), each) for each in others]
            both = [pair for pair in both if (pair[0] != UNKNOWN).any()]
            if not both:
                continue
            group = clip.row.group_or_path
            pairs["people"] += [(*pair, group) for pair in both]
            # the model on the same steps: those that anybody else has labelled too
            known = np.any([pair[0] != UNKNOWN for pair in both], axis=0)
            pairs["model"].append((np.where(known, truth, UNKNOWN), predicted, group))
        if not pairs["model"]:
            return None
        found: dict[str, Any] = {}
        for who, of_who in pairs.items():
            timelines = [(truth, other) for truth, other, _ in of_who]
            groups = [group for *_, group in of_who]
            scores = timeline_scores(timelines, groups, names, self.background, self.step_s)
            found[who] = {key: scores[key] for key in _AGREEMENT_SCORES}
        return found | {"n": len(pairs["model"])}

    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        return self.step_baselines(known, test)

    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        from pipeline.metrics.classification import paired_difference
        from pipeline.metrics.segments import timeline_scores

        groups = [row.group_or_path for row in rows]
        truths = [
            self.truth(row, decision.count("\n") + 1, labels)
            for row, decision in zip(rows, decisions, strict=True)
        ]
        number = {label: k for k, label in enumerate(labels)}
        model = [
            self.decision_score(row, decision)
            for row, decision in zip(rows, decisions, strict=True)
        ]
        found = {}
        for name, baseline in predictions.items():
            timelines = [
                (truth, np.array([number[label] for label in predicted.split("\n")], np.int64))
                for truth, predicted in zip(truths, baseline.predicted, strict=True)
            ]
            scores = timeline_scores(timelines, groups, labels, self.background, self.step_s)
            theirs = [
                self.decision_score(row, predicted)
                for row, predicted in zip(rows, baseline.predicted, strict=True)
            ]
            difference = paired_difference(model, theirs, groups)
            found[name] = {key: scores[key] for key in _BASELINE_SCORES} | {
                "difference": difference.model_dump()
            }
        return found

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        from pipeline.metrics.metrics_schema import checked
        from pipeline.metrics.task_metrics_schema import TimelineMetrics

        return checked(metrics, TimelineMetrics)


TASK = Timeline
