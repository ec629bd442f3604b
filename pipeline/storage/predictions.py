"""predictions.csv: one row per file, with a prediction only if the file could be classified.

And the files beside it: windows.csv, segments.csv, WebVTT files, step_probabilities.parquet.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.annotations import webvtt
from data_prep.csv_table import csv_text
from data_prep.files import replacing, write_text_atomically
from data_prep.manifest import printable_name
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
        for row in _in_order(rows)
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
    for row in _in_order(rows):
        begin_s, _ = _extent_s(row)
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
    for row in _in_order(rows):
        found = _segments_in_file(row, task, labels)
        if found is None:
            return False
        for segment, probability in found:
            lines.append([row.path, f"{segment.start_s:.3f}", f"{segment.end_s:.3f}",
                          segment.label, f"{probability:.6f}"])  # fmt: skip
    write_text_atomically(path, csv_text(SEGMENT_COLUMNS, lines))
    return True


WEBVTT_FOLDER = "webvtt"


def webvtt_names(place: PurePath) -> tuple[PurePath, PurePath]:
    """The names that the WebVTT file of a file may have, NAME.vtt and NAME.mp4.vtt.

    The second one if files of one folder differ in their ending alone.
    """
    return place.with_suffix(webvtt.ENDING), place.with_name(place.name + webvtt.ENDING)


def write_webvtt(
    folder: Path,
    places: Mapping[str, PurePath],
    rows: Sequence[Prediction],
    task: PredictionFormat,
    labels: Sequence[str],
) -> None:
    """Write a WebVTT file for every file with a prediction; its cues are the predicted segments.

    places: relative path for each path, of which webvtt_names makes the name in `folder`. Each file
    is written atomically. Files of an earlier run that are not written again are removed.
    """
    segments_of: dict[PurePath, list[LabelledSegment]] = defaultdict(list)
    for row in rows:  # several rows of a file are parts of it
        if row.probabilities is not None:
            found = _segments_in_file(row, task, labels) or []
            segments_of[places[row.path]] += [segment for segment, _ in found]
    names = _unique_names(segments_of)
    files = {place: folder / name for place, name in names.items()}
    # before writing: names that differ in case may be one file
    for file in _webvtt_files(folder).difference(files.values()):
        if webvtt.is_own(file):
            file.unlink()
    for place, segments in segments_of.items():
        write_text_atomically(files[place], webvtt.webvtt_text(segments))


def _unique_names(places: Collection[PurePath]) -> dict[PurePath, PurePath]:
    names = {place: webvtt_names(place)[0] for place in places}
    while len(set(names.values())) < len(names):  # a longer name may be another's shorter one
        count = Counter(names.values())
        names = {
            place: name if count[name] == 1 else webvtt_names(place)[1]
            for place, name in names.items()
        }
    return names


def _webvtt_files(folder: Path) -> set[Path]:
    return {
        Path(parent, name)
        for parent, _, names in os.walk(folder)  # follows no links
        for name in names
        if name.endswith(webvtt.ENDING)
    }


STEPS_NAME = "step_probabilities.parquet"
_STEPS_KEY = b"framewave.step_probabilities"  # of the metadata; its value is the model
_STEPS_PER_GROUP = 65_536  # rows in memory; many small groups would make the footer large


def write_step_probabilities(
    path: Path, rows: Sequence[Prediction], labels: Sequence[str], step_s: float, model: str
) -> None:
    """Write path, start_s, end_s and p_<label> … of each step atomically, sorted by path and time.

    For probabilities [N, K] of the steps, each step_s long. Bytes of paths that are not UTF-8 are
    written as \\xNN.
    """
    schema = pa.schema(
        [("path", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())]
        + [(f"p_{label}", pa.float32()) for label in labels],
        metadata={_STEPS_KEY: model},
    )
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, use_dictionary=["path"]) as writer,
    ):
        held, n_steps = list[Prediction](), 0
        for row in _in_order(rows):
            if row.probabilities is None:
                continue
            held.append(row)
            n_steps += len(row.probabilities)
            if n_steps >= _STEPS_PER_GROUP:
                writer.write_table(_step_table(held, schema, step_s), _STEPS_PER_GROUP)
                held, n_steps = [], 0
        if held:
            writer.write_table(_step_table(held, schema, step_s))


def _step_table(rows: Sequence[Prediction], schema: pa.Schema, step_s: float) -> pa.Table:
    """The steps of rows that have a prediction."""
    paths: list[str] = []
    starts_s, ends_s, probabilities = [], [], []  # [N], [N] and [N, K] of each row
    for row in rows:
        assert row.probabilities is not None
        begin_s, until_s = _extent_s(row)
        edges_s = begin_s + np.arange(len(row.probabilities) + 1) * step_s
        edges_s = np.minimum(edges_s, until_s).round(6)  # 0.3, not 0.30000000000000004
        paths += [printable_name(row.path)] * len(row.probabilities)
        starts_s.append(edges_s[:-1])
        ends_s.append(edges_s[1:])
        probabilities.append(row.probabilities.astype(np.float32))
    columns = [np.concatenate(starts_s), np.concatenate(ends_s), *np.concatenate(probabilities).T]
    return pa.table([paths, *columns], schema=schema)


def is_step_table(path: Path) -> bool:
    """Whether `write_step_probabilities` wrote a file."""
    try:
        return _STEPS_KEY in (pq.read_metadata(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _in_order(rows: Sequence[Prediction]) -> list[Prediction]:
    """Sorted by path and segment, since clips finish in no fixed order."""
    return sorted(
        rows, key=lambda row: (row.path, *(float(row.more.get(n) or 0.0) for n in PART_COLUMNS))
    )


def _extent_s(row: Prediction) -> tuple[float, float]:
    """Start and end of a row in the time of its file; the end is inf if it is not known."""
    begin_s = float(row.more.get("start_s") or 0.0)  # of a row that is a part of a file
    return begin_s, math.inf if row.duration_s is None else begin_s + row.duration_s


def _segments_in_file(
    row: Prediction, task: PredictionFormat, labels: Sequence[str]
) -> list[tuple[LabelledSegment, float]] | None:
    """Predicted segments in the time of the file, with their probabilities.

    Empty without a prediction; None if the task has no segments.
    """
    if row.probabilities is None:
        return []
    found = task.predicted_segments(row.probabilities, labels, row.classes)
    if found is None:
        return None
    begin_s, until_s = _extent_s(row)
    # the last step may reach beyond the end
    return [
        (
            LabelledSegment(begin_s + s.start_s, min(begin_s + s.end_s, until_s), s.label),
            probability,
        )
        for s, probability in found
    ]


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
