"""Labelled segments of a file, and segments.csv, which holds those of a data set.

A file that is labelled in time has one row in the manifest and any number of segments. The columns
path, start_s, end_s, label are those of every segments.csv that framewave writes. A series of
numbers is stored as point events, whose labels are the numbers. If several people labelled the same
file, the segments of one of them are its labels; those of the others have their name in the column
annotator.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.csv_table import csv_text, read_table, unescape_formula
from data_prep.files import write_text_atomically
from data_prep.status import DataSetError, UnreadableError

SEGMENTS_NAME = "segments.csv"
TOUCHING_S = 0.01  # segments that overlap by less are adjacent, with rounded times
_FAR = 2  # a time after so many lengths of the file is in another unit
UNKNOWN = -1
"""In place of a class index: the label of this step is not known."""
SEGMENT_COLUMNS = ("path", "start_s", "end_s", "label")
_ANNOTATOR = "annotator"


@dataclass(frozen=True, order=True)
class LabelledSegment:
    """A label from start_s to end_s of a file; end_s is inf if it lasts to the end of the file.

    A point event has end_s equal to start_s.
    """

    start_s: float
    end_s: float
    label: str
    annotator: str = ""
    """Who labelled it, of segments that are compared with the labels; "" of the labels."""
    where: str = field(default="", compare=False, kw_only=True)
    """Where it was read, for messages: "labels.csv, line 7"; "" if not known."""

    @property
    def is_point(self) -> bool:
        return self.start_s == self.end_s


def step_labels(
    segments: Sequence[LabelledSegment],
    labels: Sequence[str],
    n_steps: int,
    step_s: float,
    fill: int,
) -> npt.NDArray[np.int64]:
    """Index into `labels` of each time step, int64 [n_steps]; `fill` where nothing is labelled.

    Step t lasts from t · step_s to (t + 1) · step_s. It takes the label that covers most of it, of
    equal ones the first of `labels`; if more of it is unlabelled, `fill`. A point event takes the
    step it lies in.
    """
    index = {label: number for number, label in enumerate(labels)}
    covered_s = np.zeros((n_steps, len(labels)))
    for segment in segments:
        if segment.is_point:
            continue
        first = max(0, math.floor(segment.start_s / step_s))
        last = n_steps if math.isinf(segment.end_s) else math.ceil(segment.end_s / step_s)
        starts_s = np.arange(first, min(last, n_steps)) * step_s
        inside_s = np.minimum(segment.end_s, starts_s + step_s)
        inside_s -= np.maximum(segment.start_s, starts_s)
        covered_s[first : min(last, n_steps), index[segment.label]] += np.maximum(inside_s, 0.0)
    unlabelled_s = step_s - covered_s.sum(axis=1)
    found = np.full(n_steps, fill, np.int64)
    if len(labels):
        best = covered_s.argmax(axis=1)
        most_s = covered_s[np.arange(n_steps), best]
        # half of a step belongs to its label: rounding must not decide
        found = np.where(most_s >= unlabelled_s - 1e-9, best, fill)
        found = np.where(most_s > 1e-9, found, fill)
    for segment in segments:
        at = math.floor(segment.start_s / step_s + 1e-6)  # 0.3 / 0.1 is below 3
        if segment.is_point and at < n_steps:
            found[at] = index[segment.label]
    return found


def step_numbers(
    segments: Sequence[LabelledSegment], n_steps: int, step_s: float
) -> npt.NDArray[np.float64]:
    """Number of each time step, float64 [n_steps]: the mean of those in it; NaN without any.

    segments: point events whose labels are numbers.
    """
    starts_s = np.array([segment.start_s for segment in segments])
    steps = np.floor(starts_s / step_s + 1e-6).astype(np.int64)  # 0.3 / 0.1 is below 3
    inside = steps < n_steps
    numbers = np.array([float(segment.label) for segment in segments])[inside]
    counts = np.bincount(steps[inside], minlength=n_steps)
    sums = np.bincount(steps[inside], numbers, minlength=n_steps)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def check_label_time(segment: LabelledSegment, file_s: float) -> None:
    """Raise UnreadableError if a label begins after the end of its file of duration file_s, or
    ends far after it."""
    begins_late = segment.start_s >= file_s
    if not begins_late and (math.isinf(segment.end_s) or segment.end_s <= _FAR * file_s):
        return
    at_s, what = (segment.start_s, "begins") if begins_late else (segment.end_s, "ends")
    question = ""
    if at_s > _FAR * file_s:
        question = "; are the times seconds, not milliseconds or frame numbers?"
    where = f" ({segment.where})" if segment.where else ""
    raise UnreadableError(
        f"its label '{segment.label}'{where} {what} at {at_s:g} s, the file ends at "
        f"{file_s:g} s{question}"
    )


def write_segments(path: Path, segments_of: Mapping[str, Sequence[LabelledSegment]]) -> None:
    """Write {file: its segments} atomically, sorted by file and start.

    The column annotator is written if any segment has one.
    """
    several = any(segment.annotator for of_file in segments_of.values() for segment in of_file)
    rows = [
        [name, _seconds(segment.start_s), _seconds(segment.end_s), segment.label]
        + ([segment.annotator] if several else [])
        for name, segments in sorted(segments_of.items())
        for segment in sorted(segments)
    ]
    names = [*SEGMENT_COLUMNS, *([_ANNOTATOR] if several else [])]
    write_text_atomically(path, csv_text(names, rows))


def read_segments(path: Path) -> dict[str, tuple[LabelledSegment, ...]]:
    """Read what `write_segments` wrote; {} if there is no such file. Raises DataSetError.

    Those of further annotators are among the others.
    """
    if not path.exists():
        return {}
    found: dict[str, list[LabelledSegment]] = defaultdict(list)
    for line, cells in read_table(path, lambda names: "path" in names).rows:
        try:
            start_s, end_s = float(cells["start_s"]), float(cells["end_s"] or "inf")
            if not 0 <= start_s <= end_s:
                raise ValueError(f"start_s {start_s:g} and end_s {end_s:g} are out of order")
        except (KeyError, ValueError) as error:
            raise DataSetError(f"{path}, line {line}: {error}") from error
        label, annotator = (unescape_formula(cells.get(k, "")) for k in ("label", _ANNOTATOR))
        segment = LabelledSegment(start_s, end_s, label, annotator)
        found[unescape_formula(cells["path"])].append(segment)
    return {name: tuple(sorted(segments)) for name, segments in found.items()}


def sequence_text(segments: Iterable[LabelledSegment]) -> str:
    """The labels in their order: "door;dog;door"."""
    return ";".join(segment.label for segment in segments)


def _seconds(value_s: float) -> str:
    return "" if math.isinf(value_s) else f"{value_s:.6f}".rstrip("0").rstrip(".")
