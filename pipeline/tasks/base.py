"""Interface of a task: targets, head, loss, predictions, scores and report sections.

Everything else is shared: decoding, features, fusion of the modalities, training, choice of epoch,
calibration, folds, resuming. It works on rows of logits [N, K] and int64 targets [N]; depending on
the task's head, a clip has one row, one or several for each valid time step, or one for each entry
of a list.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from data_prep.manifest import ManifestRow
from data_prep.segments import LabelledSegment
from data_prep.settings import ClipSettings, SplitSettings, TaskSettings
from pipeline.errors import UserError
from pipeline.storage.predictions import Classes, Probabilities

FloatArray = npt.NDArray[np.float64]

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor, nn  # in annotations only: `classify` starts without torch

    from models.heads.base import BuildHead
    from models.settings import ModelSettings
    from pipeline.config import TrainSettings
    from pipeline.features.samples import LabelledSample
    from pipeline.metrics.scoring import EvaluatedClip


@dataclass(frozen=True)
class HeldOutRows:
    """Probabilities [N, K] of a clip from networks that were not trained on it.

    task: with the state of the clips that these were trained on.
    """

    row: ManifestRow
    probabilities: Probabilities
    task: Task


class Task(ABC):
    """One kind of prediction for a clip; model cards store its name and settings.

    Modules of tasks import torch and scikit-learn inside their methods, since `classify` needs the
    columns of its table long before it needs either.
    """

    def __init__(self, settings: TaskSettings, step_s: float) -> None:
        """step_s: length of a time step in s."""
        self.settings, self.step_s = settings, step_s
        self.state: dict[str, Any] = {}

    def fit_state(self, rows: Sequence[ManifestRow], labels: Sequence[str]) -> dict[str, Any]:
        """What decoding needs of the training rows, as JSON values; stored with the model."""
        return {}

    def fit_postprocessing(
        self, held_out: Sequence[HeldOutRows], labels: Sequence[str]
    ) -> dict[str, Any]:
        """What `postprocess` needs of held-out clips, as JSON values; it is added to the state."""
        return {}

    def postprocess(self, probabilities: Probabilities) -> Probabilities:
        """Probabilities of a whole clip [N, K] after what `state` knows; default: unchanged."""
        return probabilities

    def with_state(self, state: dict[str, Any]) -> Self:
        """A copy with what `fit_state` and `fit_postprocessing` returned."""
        other = copy(self)
        other.state = dict(state)
        return other

    def check_state(self, n_classes: int) -> None:
        """Raise ValueError if `state`, of a file that may be damaged, is not what was fitted."""
        if "transitions" in self.state:
            self.array("transitions", (n_classes, n_classes))

    def array(self, name: str, shape: tuple[int | None, ...]) -> FloatArray:
        """A part of `state` as an array of finite numbers, at least 0; None in shape: any length.

        Raises ValueError if it is something else.
        """
        try:
            found = np.asarray(self.state[name], dtype=np.float64)
        except (
            TypeError,
            ValueError,
            OverflowError,
        ) as error:  # text, or rows of different lengths
            raise ValueError(f"task_state.{name} does not hold numbers: {error}") from error
        fits = len(shape) == found.ndim and all(
            size in (None, there) for size, there in zip(shape, found.shape, strict=True)
        )
        if not fits or not found.size or not np.isfinite(found).all() or (found < 0).any():
            raise ValueError(f"task_state.{name} is not as it was fitted")
        return found

    name: ClassVar[str]  # stored in model cards, so it must not change
    per_clip: ClassVar[bool]
    """Whether a clip has one row of logits; if not, it has `rows_per_step` for each valid step, or
    with `decodes` one for each event and the end mark."""
    in_time: ClassVar[bool] = False
    """Whether labels are segments of a file (`ManifestRow.segments`), which has one row."""
    has_segments: ClassVar[bool] = False
    """Whether each step has one row of probabilities, which are decoded into segments."""
    rows_per_step: int = 1
    """Rows of logits for each step, one after the other, if not per_clip."""
    decodes: ClassVar[bool] = False
    """Whether the head is a decoder, whose rows end with that of its end mark, the last class."""
    whole_clips: ClassVar[bool] = False
    """Whether clips are trained on whole although they are not per_clip."""
    from_last_step: ClassVar[bool] = False
    """Whether `classify` needs the rows of the last step only."""
    history_steps: int | None = None
    """Number of steps that the network's rows of a step depend on, itself included; None: all."""
    class_word: ClassVar[str] = "label"
    """What a class is called in messages."""
    scored_rows: ClassVar[str] = ""
    """What the validation scores of `train` are of, if not of clips."""
    report_sections: ClassVar[tuple[str, ...]]
    """Modules of pipeline.report.sections in the order of the page; the first has the result."""

    def check_settings(self, clip: ClipSettings, model: ModelSettings) -> None:
        """Raise UserError if the task cannot be trained with these settings."""
        if model.trainable_blocks and not self.per_clip:
            raise UserError(
                f"task={self.name} is trained behind a frozen frame encoder; leave out "
                f"model.trainable_blocks={model.trainable_blocks}"
            )
        if model.refinement_stages and not self.has_segments:
            raise UserError(
                f"model.refinement_stages={model.refinement_stages} is for task=timeline, not for "
                f"task={self.name}; leave it out"
            )

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
        """Class indices int64 [N] of a clip with n_steps time steps, one for each row of logits.

        UNKNOWN rows are left out of calibration and scores.
        """

    def training_targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        """The same, with rows that are trained only; UNKNOWN rows have no loss."""
        return self.targets(row, n_steps, labels)

    def training_parts(
        self, row: ManifestRow, n_steps: int, labels: Sequence[str], rng: Generator
    ) -> list[tuple[int, int, Tensor]]:
        """Parts of a clip to train on beside the whole: (first step, end step, targets)."""
        return []

    def step_targets(self, row: ManifestRow, n_steps: int, labels: Sequence[str]) -> Tensor:
        """Classes of the steps int64 [T], which a decoder is trained on too; UNKNOWN: not known."""
        raise NotImplementedError  # of tasks that decode

    # Network

    @abstractmethod
    def build_head(self) -> BuildHead:
        """The factory of the fused head and of the unimodal heads."""

    @abstractmethod
    def build_loss(self, class_weights: list[float], settings: TrainSettings) -> nn.Module:
        """Loss of logits [N, K], soft targets [N, K] and positions int64 [N] → scalar.

        Rows of neighbouring steps have positions that differ by one. The loss has a buffer
        `weights` [K], which is 0 for classes without training clips.
        """

    # Predictions: probabilities [K], or [N, K] if not per_clip, to cells of tables

    @abstractmethod
    def columns(self, labels: Sequence[str]) -> list[str]:
        """The columns of predictions.csv between `error` and `has_video`."""

    @abstractmethod
    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]:
        """The cells of these columns; all empty for a clip without a prediction.

        classes: of `decode`, if that is done already; also in the methods below.
        """

    def parse_cells(self, cells: Mapping[str, str], labels: Sequence[str]) -> Probabilities:
        """Probabilities [K] from `cells`, to their precision, if per_clip.

        Raises KeyError, ValueError.
        """
        raise NotImplementedError  # rows [N, K] are stored by themselves

    def decode(self, probabilities: Probabilities) -> Classes | None:
        """Class index of each row, int64 [N], if it depends on `state`; else None."""
        return None

    def predicted_segments(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> list[tuple[LabelledSegment, float]] | None:
        """Segments with their probabilities, for segments.csv; None if the task has none."""
        return None

    @abstractmethod
    def decision(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> str:
        """The prediction as text, for tables and comparisons."""

    @abstractmethod
    def decision_score(self, row: ManifestRow, decision: str) -> float:
        """Share of a decision that is correct, 0 to 1."""

    # Evaluation

    def counted_labels(self, labels: Sequence[str]) -> Sequence[str]:
        """The labels whose clips the report counts, by `row_labels`; default: all."""
        return labels

    @abstractmethod
    def scores(self, clips: Sequence[EvaluatedClip], labels: Sequence[str]) -> dict[str, Any]:
        """Scores for the top level of metrics.json, among them n and accuracy."""

    @abstractmethod
    def fit_baselines(
        self, known: Sequence[LabelledSample], test: Sequence[LabelledSample]
    ) -> dict[str, Any]:
        """{name: predictions for the test clips} of baselines fitted on the known clips."""

    @abstractmethod
    def baseline_scores(
        self,
        predictions: Mapping[str, Any],
        rows: Sequence[ManifestRow],
        decisions: Sequence[str],
        labels: Sequence[str],
    ) -> dict[str, Any]:
        """{name: scores, and the difference to the model}, for metrics.json.

        predictions: of `fit_baselines` for these rows; decisions: of the model.
        """

    @abstractmethod
    def check_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Validate metrics.json's content and return it. Raises ValueError if it is not valid."""
