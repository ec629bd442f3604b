"""predictions.csv: one row per file, with a prediction only if the file could be classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from data_prep.segments import LabelledSegment
from data_prep.status import Status

Probabilities = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

_LEADING_COLUMNS = ("path", "status", "error")
_TRAILING_COLUMNS = ("has_video", "has_audio", "duration_s", "model")
UNSURE = "unsure"  # instead of a label whose probability is below classify.min_probability
EVAL_COLUMNS = ("label", "group", "fold", "split")
PART_COLUMNS = ("start_s", "end_s")
"""Of tables whose rows are parts of files."""


@dataclass(frozen=True)
class WindowPrediction:
    """Probabilities float64 [K] of a stretch of a file, start_s to end_s."""

    start_s: float
    end_s: float
    probabilities: Probabilities


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
    windows: tuple[WindowPrediction, ...] = ()
    """Of classify.window_s, in order; empty without it."""
    classes: Classes | None = None
    """Class index of each row of probabilities, int64 [N], if they are decoded already."""

    def __post_init__(self) -> None:
        if (self.probabilities is not None) != self.status.usable:
            raise ValueError(f"{self.path}: status {self.status} and prediction contradict")


class PredictionFormat(Protocol):
    """What a task writes of a prediction; see `pipeline.tasks.base.Task`."""

    def columns(self, labels: Sequence[str]) -> list[str]: ...

    def cells(
        self,
        probabilities: Probabilities | None,
        labels: Sequence[str],
        min_probability: float,
        classes: Classes | None = None,
    ) -> list[str]: ...

    def predicted_segments(
        self, probabilities: Probabilities, labels: Sequence[str], classes: Classes | None = None
    ) -> list[tuple[LabelledSegment, float]] | None: ...


def prediction_columns(predicted: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """All columns of a table; predicted: the task's own."""
    return [*_LEADING_COLUMNS, *predicted, *_TRAILING_COLUMNS, *more]


def write_predictions(
    path: Path,
    rows: Sequence[Prediction],
    task: PredictionFormat,
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
            row.path,
            str(row.status),
            row.error,
            *task.cells(row.probabilities, labels, min_probability, row.classes),
            _yes_no(row.has_video),
            _yes_no(row.has_audio),
            "" if row.duration_s is None else f"{row.duration_s:.3f}",
            model,
            *(row.more.get(name, "") for name in more),
        ]
        for row in ordered
    )
    write_text_atomically(path, csv_text(prediction_columns(task.columns(labels), more), lines))


WINDOWS_NAME = "windows.csv"


def write_windows(
    path: Path,
    rows: Sequence[Prediction],
    task: PredictionFormat,
    labels: Sequence[str],
    min_probability: float = 0.0,
) -> None:
    """Write the windows of all rows atomically, sorted by path and start, with the task's columns.

    min_probability: as for `write_predictions`.
    """
    lines = []
    for row in sorted(rows, key=lambda row: (row.path, *_segment_of(row))):
        begin_s = float(row.more.get("start_s") or 0.0)  # of a row that is a part of a file
        for window in row.windows:
            times = [f"{begin_s + at_s:.3f}" for at_s in (window.start_s, window.end_s)]
            lines.append([row.path, *times, *task.cells(window.probabilities, labels,
                                                        min_probability)])  # fmt: skip
    header = ["path", "start_s", "end_s", *task.columns(labels)]
    write_text_atomically(path, csv_text(header, lines))


SEGMENT_COLUMNS = ("path", "start_s", "end_s", "predicted", "probability")


def write_predicted_segments(
    path: Path, rows: Sequence[Prediction], task: PredictionFormat, labels: Sequence[str]
) -> bool:
    """Write the predicted segments of all rows atomically, sorted by path and start.

    Returns whether the task has segments; if not, nothing is written.
    """
    lines: list[list[str]] = []
    for row in sorted(rows, key=lambda row: (row.path, *_segment_of(row))):
        if row.probabilities is None:
            continue
        found = task.predicted_segments(row.probabilities, labels, row.classes)
        if found is None:
            return False
        begin_s = float(row.more.get("start_s") or 0.0)  # of a row that is a part of a file
        for segment, probability in found:
            start_s, end_s = begin_s + segment.start_s, begin_s + segment.end_s
            if row.duration_s is not None:  # the last step may reach beyond the end
                end_s = min(end_s, begin_s + row.duration_s)
            lines.append([row.path, f"{start_s:.3f}", f"{end_s:.3f}", segment.label,
                          f"{probability:.6f}"])  # fmt: skip
    write_text_atomically(path, csv_text(SEGMENT_COLUMNS, lines))
    return True


def _segment_of(row: Prediction) -> tuple[float, ...]:
    return tuple(float(row.more.get(name) or 0.0) for name in PART_COLUMNS)


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
