"""What tasks have in common whose labels are segments of files: classes, background, steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, step_labels
from data_prep.settings import SplitSettings
from pipeline.storage.predictions import Classes
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

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
        from data_prep.status import DataSetError

        labels = self.labels(rows)
        if len(labels) < 2:
            raise DataSetError(
                f"the timelines have {len(labels)} classes ({', '.join(labels)}); at least two are "
                "needed: labelled segments of two kinds, or of one kind and gaps between them"
            )
        if len(labels) > max_labels:
            raise DataSetError(f"{len(labels)} labels are over limits.max_labels={max_labels}")
        if split is not None:
            check_split_sizes(rows, split)

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

    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return metrics
