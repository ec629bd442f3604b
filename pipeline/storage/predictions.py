"""predictions.csv: one row per file, with a prediction only if the file could be classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.csv_safety import csv_text
from data_prep.files import write_text_atomically
from data_prep.status import Status

Probabilities = npt.NDArray[np.float64]

_LEADING_COLUMNS = ("path", "status", "error", "predicted", "probability")
_TRAILING_COLUMNS = ("has_video", "has_audio", "duration_s", "model")
EVAL_COLUMNS = ("label", "group", "fold", "split")
PART_COLUMNS = ("start_s", "end_s")  # in tables whose rows are segments of files
UNSURE = "unsure"  # instead of a label whose probability is below classify.min_probability


@dataclass(frozen=True)
class Prediction:
    """One row. `probabilities` float64 [K] is None if the file could not be classified.

    Raises ValueError if there are probabilities for a status without a prediction, or vice versa.
    """

    path: str
    status: Status
    error: str = ""
    probabilities: Probabilities | None = None
    has_video: bool | None = None
    has_audio: bool | None = None
    duration_s: float | None = None
    more: dict[str, str] = field(default_factory=dict)
    """Cells of additional columns, such as label, group, fold and split in evaluations."""

    def __post_init__(self) -> None:
        if (self.probabilities is not None) != self.status.usable:
            raise ValueError(f"{self.path}: status {self.status} and prediction contradict")

    def predicted(self, labels: Sequence[str]) -> str:
        """The most probable label, or "" without a prediction."""
        if self.probabilities is None:
            return ""
        return labels[int(np.argmax(self.probabilities))]


def prediction_columns(labels: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """Header of the table; more: additional columns at the end."""
    return [*_LEADING_COLUMNS, *(f"p_{label}" for label in labels), *_TRAILING_COLUMNS, *more]


def prediction_cells(
    prediction: Prediction, labels: Sequence[str], model: str, min_probability: float = 0.0
) -> list[str]:
    """The row's cells in the order of `prediction_columns`, without additional columns."""
    probabilities = prediction.probabilities
    sure = probabilities is None or probabilities.max() >= min_probability
    # empty, not 0: a file without a prediction must not look like an unlikely label
    values = ["" for _ in labels] if probabilities is None else [f"{p:.6f}" for p in probabilities]
    return [
        prediction.path,
        str(prediction.status),
        prediction.error,
        prediction.predicted(labels) if sure else UNSURE,
        "" if probabilities is None else f"{probabilities.max():.6f}",
        *values,
        _yes_no(prediction.has_video),
        _yes_no(prediction.has_audio),
        "" if prediction.duration_s is None else f"{prediction.duration_s:.3f}",
        model,
    ]


def write_predictions(
    path: Path,
    rows: Sequence[Prediction],
    labels: Sequence[str],
    model: str,
    more: Sequence[str] = (),
    min_probability: float = 0.0,
) -> None:
    """Write the table atomically, sorted by path and segment.

    min_probability: rows whose most probable label has less are written as unsure.
    """
    # sorted, since clips finish in no fixed order
    ordered = sorted(rows, key=lambda row: (row.path, *_segment_of(row)))
    lines = (
        [
            *prediction_cells(row, labels, model, min_probability),
            *(row.more.get(name, "") for name in more),
        ]
        for row in ordered
    )
    write_text_atomically(path, csv_text(prediction_columns(labels, more), lines))


def _segment_of(row: Prediction) -> tuple[float, ...]:
    return tuple(float(row.more.get(name) or 0.0) for name in PART_COLUMNS)


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
