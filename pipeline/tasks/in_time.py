"""What tasks have in common whose labels are segments of files: classes, background, steps; and
what forecasts of labels and of numbers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, step_labels
from data_prep.settings import ClipSettings, SplitSettings, TaskSettings
from pipeline.errors import UserError
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.heads.base import BuildHead
    from models.settings import ModelSettings
    from pipeline.config import TrainSettings
    from pipeline.features.samples import LabelledSample


class TaskInTime(Task):
    """A task on labelled segments.

    Steps that no segment covers are of the background class, or with task.unlabelled=ignore of
    unknown label.
    """

    per_clip = False
    in_time = True

    @property
    def background(self) -> str:
        """Name of the background class."""
        return self.settings.background

    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        from data_prep.dataset.splits import check_split_sizes
        from data_prep.status import DataSetError, counted

        labels = self.labels(rows)
        failed = [row for row in rows if row.segments and not row.trainable and row.error]
        example = (
            f". {counted(len(failed), 'labelled file')} cannot be used, for example "
            f"{failed[0].path}: {failed[0].error}"
            if failed
            else ""
        )
        if len(labels) < 2:
            found = f"one class ({labels[0]})" if labels else "no class"
            raise DataSetError(
                f"the timelines have {found}; at least two are needed: labelled segments of two "
                f"kinds, or of one kind and gaps between them{example}"
            )
        if len(labels) > max_labels:
            raise DataSetError(f"{len(labels)} labels are over limits.max_labels={max_labels}")
        if split is not None:
            try:
                check_split_sizes(rows, split)
            except DataSetError as error:
                raise DataSetError(f"{error}{example}") from error

    def row_labels(self, row: ManifestRow) -> Sequence[str]:
        labels = [segment.label for segment in row.segments]
        gaps = [self.background] if self._has_gaps(row) else []
        return labels + gaps or [row.label]  # the label of a file without any event is background

    def _background_index(self, labels: Sequence[str]) -> int | None:
        return labels.index(self.background) if self.background in labels else None

    def _has_gaps(self, row: ManifestRow) -> bool:
        if self.settings.unlabelled == "ignore" or row.planned_duration_s is None:
            return False
        end_s, covered_s = row.planned_duration_s, 0.0
        for segment in row.segments:
            covered_s += max(0.0, min(segment.end_s, end_s) - segment.start_s)
        return covered_s < end_s - self.step_s

    def truth(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        """Class index of each step, int64 [T]; UNKNOWN where the label is not known."""
        ignore = self.settings.unlabelled == "ignore" or self.background not in labels
        fill = UNKNOWN if ignore else labels.index(self.background)
        known = [segment for segment in row.segments if segment.label in labels]
        found = step_labels(known, labels, n_steps, self.step_s, fill)
        if not row.segments and row.label == self.background and self.background in labels:
            found[:] = labels.index(self.background)
        return found

    def timelines(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> list[Classes]:
        """Class index of each step of each row whose length is known, int64 [T] each."""
        from data_prep.video.sampling import step_count

        return [
            self.truth(row, step_count(row.planned_duration_s, 1 / self.step_s), labels)
            for row in rows
            if row.planned_duration_s
        ]

    def build_loss(self, class_weights: list[float], settings: TrainSettings) -> nn.Module:
        """Cross-entropy in which all labels count alike, as in the accuracy of the baselines."""
        from models.losses import WeightedCrossEntropy

        known = [float(weight > 0) for weight in class_weights]
        return WeightedCrossEntropy(known, settings.label_smoothing)

    def step_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        """{baseline: classes of the test files' steps}, see `run_step_baselines`."""
        from pipeline.metrics.baselines import run_step_baselines

        # not self.row_labels: here the background of gaps is a class in every task
        names = (TaskInTime.row_labels(self, item.row) for item in known)
        labels = sorted({name for of_row in names for name in of_row})
        truths = [self.truth(item.row, item.sample.n_steps, labels) for item in known]
        samples, unseen = ([item.sample for item in items] for items in (known, test))
        return dict(run_step_baselines(samples, truths, unseen, labels, self.step_s))


class ForecastInTime(TaskInTime):
    """1 + H rows of logits for each step, for its class and those 1 … H steps later."""

    name = "forecast"
    from_last_step = True

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

    def by_step(self, rows: Probabilities) -> Probabilities:
        """Rows [T · (1 + H), K] as [T, 1 + H, K]."""
        return rows.reshape(-1, self.rows_per_step, rows.shape[1])

    def next_rows(self, rows: Probabilities) -> Probabilities:
        """The rows of the next H steps at each step [T, H, K], of rows [T · (1 + H), K]."""
        return self.by_step(rows)[:, 1:]

    def futures(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Classes:
        """Class indices of the next steps at each step, int64 [T, H]; UNKNOWN past the end."""
        from pipeline.metrics.forecast import future_labels

        return future_labels(self.truth(row, n_steps, labels), self.settings.horizon_steps)

    def build_head(self) -> BuildHead:
        from models.heads.step import build_step_head

        return partial(build_step_head, rows_per_step=self.rows_per_step)

    def described(self) -> dict[str, Any]:
        """What was forecast from what, for metrics.json."""
        return {
            "step_s": self.step_s, "horizon_steps": self.settings.horizon_steps,
            "history_steps": self.history_steps, "form": self.settings.form,
        }  # fmt: skip
