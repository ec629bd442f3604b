"""predictions.csv: one row for every file, in the agreed columns; a prediction only where true."""

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

_BEFORE = ("path", "status", "error", "predicted", "probability")
_AFTER = ("has_video", "has_audio", "duration_s", "model")
EVAL_COLUMNS = ("label", "group", "fold", "split")
PART_COLUMNS = ("start_s", "end_s")
"""Of tables whose rows are parts of files."""
UNSURE = "unsure"
"""Predicted where the most probable label is not probable enough."""


@dataclass(frozen=True)
class Prediction:
    """One row. `probabilities` [K] is None where nothing could be predicted."""

    path: str
    status: Status
    error: str = ""
    probabilities: Probabilities | None = None
    has_video: bool | None = None
    has_audio: bool | None = None
    duration_s: float | None = None
    more: dict[str, str] = field(default_factory=dict)
    """Cells of further columns: label, group, fold, split in evaluations."""

    def __post_init__(self) -> None:
        if (self.probabilities is not None) != self.status.usable:
            raise ValueError(f"{self.path}: status {self.status} and prediction contradict")

    def predicted(self, labels: Sequence[str]) -> str:
        """The most probable label, or "" without prediction."""
        if self.probabilities is None:
            return ""
        return labels[int(np.argmax(self.probabilities))]


def prediction_columns(labels: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    return [*_BEFORE, *(f"p_{label}" for label in labels), *_AFTER, *more]


def prediction_cells(
    prediction: Prediction, labels: Sequence[str], model: str, min_probability: float = 0.0
) -> list[str]:
    """The row's cells in the order of `columns`, without further ones."""
    chances = prediction.probabilities
    sure = chances is None or chances.max() >= min_probability
    values = ["" for _ in labels] if chances is None else [f"{p:.6f}" for p in chances]
    return [
        prediction.path,
        str(prediction.status),
        prediction.error,
        prediction.predicted(labels) if sure else UNSURE,
        "" if chances is None else f"{chances.max():.6f}",
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
    """Write the table sorted by path, by temporary file and rename.

    min_probability: where the most probable label has less, the row says unsure.
    """
    ordered = sorted(rows, key=lambda row: (row.path, *_part_of(row)))
    lines = (
        [
            *prediction_cells(row, labels, model, min_probability),
            *(row.more.get(name, "") for name in more),
        ]
        for row in ordered
    )
    write_text_atomically(path, csv_text(prediction_columns(labels, more), lines))


def _part_of(row: Prediction) -> tuple[float, ...]:
    return tuple(float(row.more.get(name) or 0.0) for name in PART_COLUMNS)


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
