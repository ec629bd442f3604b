"""predictions.csv: one row for every file, in the agreed columns; a prediction only where true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_prep.csv_safety import csv_text
from data_prep.files import write_text_atomically
from data_prep.status import Status

Probabilities = npt.NDArray[np.float64]

_BEFORE = ("path", "status", "error")
_AFTER = ("has_video", "has_audio", "duration_s", "model")
EVAL_COLUMNS = ("label", "group", "fold", "split")
PART_COLUMNS = ("start_s", "end_s")
"""Of tables whose rows are parts of files."""


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


class PredictionFormat(Protocol):
    """What a task writes of a prediction; see `pipeline.tasks.base.Task`."""

    def columns(self, labels: Sequence[str]) -> list[str]: ...

    def cells(
        self, probabilities: Probabilities | None, labels: Sequence[str], min_probability: float
    ) -> list[str]: ...


def prediction_columns(predicted: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """All columns of a table; predicted: the task's own."""
    return [*_BEFORE, *predicted, *_AFTER, *more]


def write_predictions(
    path: Path,
    rows: Sequence[Prediction],
    task: PredictionFormat,
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
            row.path,
            str(row.status),
            row.error,
            *task.cells(row.probabilities, labels, min_probability),
            _yes_no(row.has_video),
            _yes_no(row.has_audio),
            "" if row.duration_s is None else f"{row.duration_s:.3f}",
            model,
            *(row.more.get(name, "") for name in more),
        ]
        for row in ordered
    )
    write_text_atomically(path, csv_text(prediction_columns(task.columns(labels), more), lines))


def _part_of(row: Prediction) -> tuple[float, ...]:
    return tuple(float(row.more.get(name) or 0.0) for name in PART_COLUMNS)


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
