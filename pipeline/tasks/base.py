"""Interface of a task: targets, head, loss, predictions, scores and report sections.

Everything else is shared: decoding, features, fusion of the modalities, training, choice of epoch,
calibration, folds, resuming. It works on rows of logits [N, K] and int64 targets [N]; depending on
the task's head, a clip has one row, or one for each valid time step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from data_prep.manifest import ManifestRow
from data_prep.settings import SplitSettings
from pipeline.storage.predictions import Probabilities

if TYPE_CHECKING:
    from torch import Tensor, nn  # in annotations only: `classify` starts without torch

    from models.heads.base import BuildHead
    from pipeline.features.samples import Sample
    from pipeline.metrics.scoring import EvaluatedClip


class Task(ABC):
    """One kind of prediction for a clip. Stateless; model cards store its name.

    Modules of tasks import torch and scikit-learn inside their methods, since `classify` needs the
    columns of its table long before it needs either.
    """

    name: ClassVar[str]  # stored in model cards, so it must not change
    per_clip: ClassVar[bool]
    """Whether a clip has one row of logits; if not, it has one for each valid time step."""
    report_sections: ClassVar[tuple[str, ...]]
    """Modules of pipeline.report.sections in the order of the page; the first has the result."""

    # Data: manifest rows to targets

    @abstractmethod
    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        """Raise DataSetError, with what to do, if a model cannot be trained on these rows.

        split: how the splits were made, each of which needs clips; None for cross-validation.
        """

    @abstractmethod
    def row_labels(self, row: ManifestRow) -> Sequence[str]:
        """Labels of a trainable row, each as often as it occurs: splits, folds and counts use it.

        Called for every row of a data set, so it must be fast.
        """

    def labels(self, rows: Sequence[ManifestRow]) -> tuple[str, ...]:
        """The K classes that occur in trainable rows, sorted."""
        # sorted: the order of the manifest must not change the model
        return tuple(
            sorted({label for row in rows if row.trainable for label in self.row_labels(row)})
        )

    @abstractmethod
    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        """Class indices int64 [N] of a clip with n_steps time steps, one for each row of logits."""

    # Network

    @abstractmethod
    def build_head(self) -> BuildHead:
        """The factory of the fused head and of the unimodal heads."""

    @abstractmethod
    def build_loss(self, class_weights: list[float], label_smoothing: float) -> nn.Module:
        """Loss of logits [N, K] and soft targets [N, K] → scalar.

        It has a buffer `weights` [K], which is 0 for classes without training clips.
        """

    # Predictions: probabilities [K], or [N, K] if not per_clip, to cells of tables

    @abstractmethod
    def columns(self, labels: Sequence[str]) -> list[str]:
        """The columns of predictions.csv between `error` and `has_video`."""

    @abstractmethod
    def cells(
        self, probabilities: Probabilities | None, labels: Sequence[str], min_probability: float
    ) -> list[str]:
        """The cells of these columns; all empty for a clip without a prediction."""

    @abstractmethod
    def parse_cells(self, cells: Mapping[str, str], labels: Sequence[str]) -> Probabilities:
        """Probabilities from `cells`, to their precision. Raises KeyError, ValueError."""

    @abstractmethod
    def decision(self, probabilities: Probabilities, labels: Sequence[str]) -> str:
        """The prediction as text, for tables and comparisons."""

    @abstractmethod
    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of a decision that is correct, 0 to 1."""

    # Evaluation

    @abstractmethod
    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        """Scores for the top level of metrics.json, among them n and accuracy."""

    @abstractmethod
    def fit_baselines(
        self,
        rows: Sequence[ManifestRow],
        samples: Sequence[Sample],
        test: Sequence[Sample],
    ) -> dict[str, Any]:
        """{name: predictions for the test clips} of baselines fitted on rows and samples."""

    @abstractmethod
    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        probabilities: Sequence[Probabilities],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        """{name: scores, and the difference to the model}, for metrics.json.

        predictions: of `fit_baselines` for these rows; probabilities: of the model.
        """

    @abstractmethod
    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Validate metrics.json's content and return it. Raises ValueError if it is not valid."""
