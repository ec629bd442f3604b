"""What a task is: targets, head, loss, predictions, scores and report of one kind of question.

Everything else is shared: decoding, features, fusion of the modalities, training, choice of epoch,
calibration, folds, resuming. It works on rows of logits [N, K] and int64 targets [N], of which a
clip has one, or one for each valid time step, as the task's head gives them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from data_prep.manifest import ManifestRow
from data_prep.settings import SplitSettings
from pipeline.storage.predictions import Probabilities

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.heads.base import BuildHead
    from pipeline.features.samples import Sample
    from pipeline.metrics.scoring import EvaluatedClip


class Task(ABC):
    """One kind of question about a clip. Stateless; models and tables know it by its name.

    Modules of tasks import torch and scikit-learn inside their methods: `classify` asks for columns
    long before it needs either.
    """

    name: ClassVar[str]
    per_clip: ClassVar[bool]
    """Whether a clip has one row of logits; else it has one for each valid time step."""
    report_sections: ClassVar[tuple[str, ...]]
    """Modules of pipeline.report.sections, in the order of the page; the first says the result."""

    # Data: from rows of the manifest to targets

    @abstractmethod
    def check_rows(
        self, rows: Sequence[ManifestRow], max_labels: int, split: SplitSettings | None
    ) -> None:
        """Raise DataSetError where nothing can be learned from these rows, saying what to do.

        split: what the splits were made by, where each of them needs clips; None for folds.
        """

    @abstractmethod
    def labels(self, rows: Sequence[ManifestRow]) -> tuple[str, ...]:
        """The K classes that occur in rows, ordered."""

    @abstractmethod
    def targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        """int64 [N]: class numbers of a clip of n_steps steps, one for each row of its logits."""

    # Network

    @abstractmethod
    def build_head(self) -> BuildHead:
        """What makes the head of the fused features, and that of each modality."""

    @abstractmethod
    def build_loss(self, class_weights: list[float], label_smoothing: float) -> nn.Module:
        """Logits [N, K] and shares of classes [N, K] → scalar; it has the buffer `weights` [K],
        which is zero for classes that no training clip has."""

    # Predictions: from probabilities [K], or [N, K] where not per_clip, to cells of tables

    @abstractmethod
    def columns(self, labels: Sequence[str]) -> list[str]:
        """The columns of predictions.csv between `error` and `has_video`."""

    @abstractmethod
    def cells(
        self, probabilities: Probabilities | None, labels: Sequence[str], min_probability: float
    ) -> list[str]:
        """The cells of these columns; all empty for a clip without prediction."""

    @abstractmethod
    def parse_cells(self, cells: Mapping[str, str], labels: Sequence[str]) -> Probabilities:
        """The inverse of `cells`, as exact as they are. Raises KeyError, ValueError."""

    @abstractmethod
    def decision(self, probabilities: Probabilities, labels: Sequence[str]) -> str:
        """What is predicted, as text: for tables and comparisons."""

    @abstractmethod
    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of a decision that is correct, 0 to 1."""

    # Evaluation

    @abstractmethod
    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        """What metrics.json says of the predictions, at its top level; with n and accuracy."""

    @abstractmethod
    def fit_baselines(
        self,
        rows: Sequence[ManifestRow],
        samples: Sequence[Sample],
        test: Sequence[Sample],
    ) -> dict[str, Any]:
        """{name: predictions for the test clips} of simple methods fitted on rows and samples."""

    @abstractmethod
    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        probabilities: Sequence[Probabilities],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        """{name: its scores and the model's advantage}, for metrics.json; of what `fit_baselines`
        gave for these rows, beside the model's probabilities for them."""

    @abstractmethod
    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """metrics.json's content, as it is written. Raises ValueError where it is not as agreed."""
