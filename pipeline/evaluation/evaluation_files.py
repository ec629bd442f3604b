"""What an evaluation said of each clip, read back from its predictions.csv.

An evaluation's files: written together, and read back by those who set runs side by side.

What crossval leaves for eval: the clips' predictions by other folds' networks, and a summary.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from data_prep.csv_table import csv_text, unescape_formula
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow
from data_prep.status import Status
from pipeline.checkpoints.model_card import MODEL_JSON, read_description
from pipeline.errors import UserError
from pipeline.evaluation.evaluated_clips import write_table
from pipeline.leak_audit.findings import FINDING_COLUMNS
from pipeline.metrics.metrics_schema import METRICS_VERSION, checked
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction
from pipeline.tasks.base import Task

Key = tuple[str, str, str]
"""(path, start_s, end_s) of a clip."""


@dataclass(frozen=True)
class ClipResult:
    """One clip: its label and group, and what was said of it ("" where nothing could be)."""

    label: str
    group: str
    predicted: str
    probability: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


def read_clip_results(table: Path) -> dict[Key, ClipResult]:
    """Every row of a predictions.csv that eval wrote. Raises OSError, KeyError, ValueError."""
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return dict(_clip_result(row) for row in csv.DictReader(file))


def _clip_result(row: dict[str, str]) -> tuple[Key, ClipResult]:
    path, label, group, predicted = (
        unescape_formula(row[name]) for name in ("path", "label", "group", "predicted")
    )
    key = path, row.get("start_s") or "", row.get("end_s") or ""
    return key, ClipResult(label, group, predicted, row["probability"])


METRICS_NAME, TABLE_NAME = "metrics.json", "predictions.csv"
REPORT_NAME, FINDINGS_NAME = "report.html", "findings.csv"


def eval_folder(run: Path, out: Path | None = None) -> Path:
    """Where an evaluation of a run lies, if it is not put elsewhere."""
    return out if out is not None else run / "eval"


def make_folder(folder: Path) -> None:
    """Raises UserError where it cannot be made, or nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write in the folder {folder}: {error.strerror}; give another --out"
        ) from error


def write_evaluation(
    folder: Path,
    clips: Sequence[EvaluatedClip],
    task: Task,
    labels: Sequence[str],
    metrics: dict[str, Any],
    findings: Sequence[dict[str, str]],
) -> None:
    """Metrics come last, and nothing of an earlier evaluation stays beside these numbers, so that
    what is interrupted looks so. The page is made after that."""
    for name in (REPORT_NAME, FINDINGS_NAME, METRICS_NAME):
        (folder / name).unlink(missing_ok=True)
    if metrics["audit"] is not None:
        lines = [list(finding.values()) for finding in findings]
        write_text_atomically(folder / FINDINGS_NAME, csv_text(FINDING_COLUMNS, lines))
    write_table(folder / TABLE_NAME, clips, task, labels, metrics["model"])
    write_text_atomically(
        folder / METRICS_NAME, json.dumps(task.check_metrics(metrics), indent=1) + "\n"
    )


def stored_evaluated_on(folder: Path) -> str | None:
    """What the evaluation in a folder is on (its evaluated_on); None where there is none."""
    try:
        return str(json.loads((folder / METRICS_NAME).read_text("utf-8"))["evaluated_on"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class SavedEvaluation:
    """What was said of each clip, and the metrics."""

    clips: dict[Key, ClipResult]
    metrics: dict[str, Any]


def read_evaluation(run: Path) -> SavedEvaluation:
    """Of a run folder (its eval/), or of a folder that eval wrote. Raises UserError."""
    folder = run if (run / METRICS_NAME).is_file() else eval_folder(run)
    try:
        metrics = json.loads((folder / METRICS_NAME).read_text("utf-8"))
        clips = read_clip_results(folder / TABLE_NAME)
        labels = {*metrics["confusion"]["labels"], ""}
        is_current, model = metrics["version"] == METRICS_VERSION, str(metrics["model"])
        if is_current:
            checked(metrics)
    except FileNotFoundError as error:
        raise UserError(
            f"{run} was not evaluated ({error.filename} is not there); run "
            f"`framewave eval --run {run}` first"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split("\n")[:3])  # of a schema's long complaint
        raise UserError(
            f"the evaluation in {folder} cannot be read ({said}); run eval again"
        ) from error
    if not clips:
        raise UserError(f"the evaluation in {folder} holds no clip")
    if not is_current:
        raise UserError(f"the evaluation in {folder} is an older framewave's; run eval again")
    if any(not {said.predicted, said.label} <= labels for said in clips.values()):
        raise UserError(f"{folder / TABLE_NAME} names labels that the model does not know")
    if folder != run and (run / MODEL_JSON).is_file() and read_description(run).digest != model:
        raise UserError(
            f"the model in {run} is another one than was evaluated; run "
            f"`framewave eval --run {run}` again"
        )
    return SavedEvaluation(clips, metrics)


OUT_OF_FOLD_NAME, SUMMARY_NAME = "out_of_fold.csv", "crossval.json"
_YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class OutOfFold:
    """One row for every labelled file, and what crossval.json holds."""

    clips: list[EvaluatedClip]
    summary: dict[str, Any]


def write_out_of_fold(
    run: Path, kept: OutOfFold, task: Task, labels: Sequence[str], model: str
) -> None:
    """Write both files, each by temporary file and rename, the summary last."""
    write_table(run / OUT_OF_FOLD_NAME, kept.clips, task, labels, model)
    write_text_atomically(run / SUMMARY_NAME, json.dumps(kept.summary, indent=1) + "\n")


def read_out_of_fold(run: Path, task: Task, labels: Sequence[str]) -> OutOfFold | None:
    """None where the run is no crossval's. Raises UserError where its files are damaged."""
    if not (run / SUMMARY_NAME).is_file():
        return None
    try:
        summary = json.loads((run / SUMMARY_NAME).read_text("utf-8"))
        with (run / OUT_OF_FOLD_NAME).open(
            encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            clips = [_clip(row, task, labels) for row in csv.DictReader(file)]
        judged = sum(clip.prediction.probabilities is not None for clip in clips)
        if any(method["n"] != judged for method in summary["baselines"].values()):
            raise ValueError(
                f"{judged} clips are judged in {OUT_OF_FOLD_NAME}, another number before"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run / OUT_OF_FOLD_NAME} or {SUMMARY_NAME} is damaged ({error}); delete "
            f"{run / SUMMARY_NAME} and run the same `framewave crossval` command again"
        ) from error
    return OutOfFold(clips, summary)


def _clip(cells: dict[str, str], task: Task, labels: Sequence[str]) -> EvaluatedClip:
    status = Status(cells["status"])
    path = unescape_formula(cells["path"])
    probabilities = task.parse_cells(cells, labels) if status.usable else None
    row = ManifestRow(
        path=path, status=status, label=unescape_formula(cells["label"]),
        group=unescape_formula(cells["group"]),
        fold=unescape_formula(cells["fold"]), split=cells["split"],
        start_s=_seconds(cells.get("start_s")), end_s=_seconds(cells.get("end_s")),
    )  # fmt: skip
    prediction = Prediction(
        path, status, unescape_formula(cells["error"]), probabilities,
        _YES_NO.get(cells["has_video"]),
        _YES_NO.get(cells["has_audio"]), _seconds(cells["duration_s"]),
    )  # fmt: skip
    return EvaluatedClip(row, prediction, None)


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None
