"""Files of an evaluation, and the out-of-fold predictions that crossval leaves for eval.

Both are written here, and read back for comparisons and reports.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data_prep.csv_table import csv_text, unescape_formula
from data_prep.files import replacing, write_text_atomically
from data_prep.manifest import ManifestRow
from data_prep.segments import (
    SEGMENTS_NAME,
    LabelledSegment,
    read_segments,
    write_segments,
)
from data_prep.status import DataSetError, Status
from pipeline.checkpoints.model_card import MODEL_JSON, read_description
from pipeline.errors import UserError
from pipeline.evaluation.evaluated_clips import write_table
from pipeline.leak_audit.findings import FINDING_COLUMNS
from pipeline.metrics.metrics_schema import METRICS_VERSION, checked
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction, write_predicted_segments
from pipeline.tasks.base import Task

Key = tuple[str, str, str]  # (path, start_s, end_s) of a clip


@dataclass(frozen=True)
class ClipResult:
    """Label, group and prediction of a clip; predicted is "" if it has none."""

    label: str
    group: str
    predicted: str
    probability: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


def read_clip_results(table: Path) -> dict[Key, ClipResult]:
    """Read a predictions.csv that eval wrote. Raises OSError, KeyError, ValueError."""
    # surrogateescape: file names need not be valid UTF-8
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return dict(_clip_result(row) for row in csv.DictReader(file))


def _clip_result(row: dict[str, str]) -> tuple[Key, ClipResult]:
    path, label, group, predicted = (
        unescape_formula(row[name]) for name in ("path", "label", "group", "predicted")
    )
    key = path, row.get("start_s") or "", row.get("end_s") or ""  # columns of segments only
    return key, ClipResult(label, group, predicted, row["probability"])


METRICS_NAME, TABLE_NAME = "metrics.json", "predictions.csv"
REPORT_NAME, FINDINGS_NAME = "report.html", "findings.csv"


def eval_folder(run: Path, out: Path | None = None) -> Path:
    """The folder of a run's evaluation: `out` if given, else eval/ in the run."""
    return out if out is not None else run / "eval"


def make_folder(folder: Path) -> None:
    """Make a folder. Raises UserError if that fails, or if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # more reliable than the mode bits
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {folder}: {error.strerror}; give another --out"
        ) from error


def write_evaluation(
    folder: Path,
    clips: Sequence[EvaluatedClip],
    task: Task,
    labels: Sequence[str],
    metrics: dict[str, Any],
    findings: Sequence[dict[str, str]],
) -> None:
    """Write findings.csv, predictions.csv and metrics.json; the report is written after that."""
    # no file of an earlier evaluation may stay next to the new numbers
    for name in (REPORT_NAME, FINDINGS_NAME, METRICS_NAME, SEGMENTS_NAME):
        (folder / name).unlink(missing_ok=True)
    if metrics["audit"] is not None:
        lines = [list(finding.values()) for finding in findings]
        write_text_atomically(folder / FINDINGS_NAME, csv_text(FINDING_COLUMNS, lines))
    write_table(folder / TABLE_NAME, clips, task, labels, metrics["model"])
    write_predicted_segments(
        folder / SEGMENTS_NAME, [clip.prediction for clip in clips], task, labels
    )
    # last: without metrics.json an interrupted evaluation is recognised as such
    write_text_atomically(
        folder / METRICS_NAME, json.dumps(task.check_metrics(metrics), indent=1) + "\n"
    )


def stored_evaluated_on(folder: Path) -> str | None:
    """evaluated_on of the evaluation in a folder; None if there is no readable one."""
    try:
        return str(json.loads((folder / METRICS_NAME).read_text("utf-8"))["evaluated_on"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class SavedEvaluation:
    """Result of each clip, and the metrics."""

    clips: dict[Key, ClipResult]
    metrics: dict[str, Any]


def read_evaluation(run: Path) -> SavedEvaluation:
    """Read the evaluation in a run folder (its eval/), or in a folder that eval wrote.

    Raises UserError if there is none, or if it is damaged or not of the run's model.
    """
    folder = run if (run / METRICS_NAME).is_file() else eval_folder(run)
    try:
        metrics = json.loads((folder / METRICS_NAME).read_text("utf-8"))
        if "accuracy" in metrics and ("confusion" not in metrics or "step_s" in metrics):
            raise UserError(
                f"the evaluation in {folder} is not of the task clip_label; only runs of that "
                "task can be compared"
            )
        clips = read_clip_results(folder / TABLE_NAME)
        labels = {*metrics["confusion"]["labels"], ""}  # "" of failed clips
        is_current, model = metrics["version"] == METRICS_VERSION, str(metrics["model"])
        if is_current:  # the schema describes the current version only
            checked(metrics)
    except FileNotFoundError as error:
        raise UserError(
            f"{run} was not evaluated ({error.filename} does not exist); run "
            f"`framewave eval --run {run}` first"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split("\n")[:3])  # a schema error can have hundreds of lines
        raise UserError(
            f"the evaluation in {folder} cannot be read ({reason}); run eval again"
        ) from error
    if not clips:
        raise UserError(f"the evaluation in {folder} holds no clip")
    if not is_current:
        raise UserError(
            f"the evaluation in {folder} was made by an older framewave; run eval again"
        )
    if any(not {results.predicted, results.label} <= labels for results in clips.values()):
        raise UserError(f"{folder / TABLE_NAME} names labels that the model does not know")
    # the run may have been trained again after it was evaluated
    if folder != run and (run / MODEL_JSON).is_file() and read_description(run).digest != model:
        raise UserError(
            f"the model in {run} is not the one that was evaluated; run "
            f"`framewave eval --run {run}` again"
        )
    return SavedEvaluation(clips, metrics)


OUT_OF_FOLD_NAME, SUMMARY_NAME = "out_of_fold.csv", "crossval.json"
STEPS_NAME = "out_of_fold.safetensors"
"""Probabilities and classes of the rows of each clip, of tasks with more than one row."""
_LABELLED_NAME = "labelled_segments.csv"
_PROBABILITIES, _CLASSES = "probabilities.", "classes."  # and the number of the clip
_YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class OutOfFold:
    """A row for every labelled file, and the content of crossval.json."""

    clips: list[EvaluatedClip]
    summary: dict[str, Any]


def write_out_of_fold(
    run: Path, kept: OutOfFold, task: Task, labels: Sequence[str], model: str
) -> None:
    """Write these files, each by temporary file and rename."""
    if not task.per_clip:
        _write_steps(run / STEPS_NAME, kept.clips)
    if task.in_time:  # the work folder may be labelled again, or gone, when eval reads this
        write_segments(
            run / _LABELLED_NAME, {clip.row.path: clip.row.all_segments for clip in kept.clips}
        )
    write_table(run / OUT_OF_FOLD_NAME, kept.clips, task, labels, model)
    # last: the table counts only if there is a summary
    write_text_atomically(run / SUMMARY_NAME, json.dumps(kept.summary, indent=1) + "\n")


def read_out_of_fold(run: Path, task: Task, labels: Sequence[str]) -> OutOfFold | None:
    """None if the run is not of a crossval. Raises UserError if its files are damaged."""
    if not (run / SUMMARY_NAME).is_file():
        return None
    try:
        summary = json.loads((run / SUMMARY_NAME).read_text("utf-8"))
        with (run / OUT_OF_FOLD_NAME).open(
            encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            cells = list(csv.DictReader(file))
        segments = read_segments(run / _LABELLED_NAME) if task.in_time else {}
        steps = {} if task.per_clip else load((run / STEPS_NAME).read_bytes())
        clips = [_clip(row, task, labels, segments, steps) for row in cells]
        n_predicted = sum(clip.prediction.probabilities is not None for clip in clips)
        # a truncated table would otherwise be scored as if it were complete
        if any(method["n"] != n_predicted for method in summary["baselines"].values()):
            raise ValueError(
                f"{n_predicted} predictions in {OUT_OF_FOLD_NAME}, another number in {SUMMARY_NAME}"
            )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, DataSetError) as error:
        raise UserError(
            f"{run / OUT_OF_FOLD_NAME} or {SUMMARY_NAME} is damaged ({error}); delete "
            f"{run / SUMMARY_NAME} and run the same `framewave crossval` command again"
        ) from error
    return OutOfFold(clips, summary)


def _write_steps(path: Path, clips: Sequence[EvaluatedClip]) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for clip in clips:
        key, prediction = _steps_key(clip.row), clip.prediction
        if prediction.probabilities is not None:
            arrays[_PROBABILITIES + key] = prediction.probabilities
        if prediction.classes is not None:
            arrays[_CLASSES + key] = prediction.classes
    with replacing(path) as temporary:
        temporary.write_bytes(save(arrays))


def _steps_key(row: ManifestRow) -> str:
    # names of tensors are UTF-8, which paths need not be; repr escapes what is not
    return hashlib.sha256(repr(row.key).encode()).hexdigest()[:32]


def _clip(
    cells: dict[str, str],
    task: Task,
    labels: Sequence[str],
    segments: Mapping[str, tuple[LabelledSegment, ...]],
    steps: Mapping[str, Any],
) -> EvaluatedClip:
    status = Status(cells["status"])
    path = unescape_formula(cells["path"])
    row = ManifestRow(
        path=path, status=status, label=unescape_formula(cells["label"]),
        group=unescape_formula(cells["group"]),
        fold=unescape_formula(cells["fold"]), split=cells["split"],
        start_s=_seconds(cells.get("start_s")), end_s=_seconds(cells.get("end_s")),
    ).with_segments(segments.get(path, ()))  # fmt: skip
    probabilities = classes = None
    if status.usable and task.per_clip:
        probabilities = task.parse_cells(cells, labels)
    elif status.usable:
        key = _steps_key(row)
        probabilities, classes = steps[_PROBABILITIES + key], steps.get(_CLASSES + key)
    prediction = Prediction(
        path, status, unescape_formula(cells["error"]), probabilities,
        _YES_NO.get(cells["has_video"]),  # None if unknown, as for failed files
        _YES_NO.get(cells["has_audio"]), _seconds(cells["duration_s"]), classes=classes,
    )  # fmt: skip
    return EvaluatedClip(row, prediction, None)


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None
