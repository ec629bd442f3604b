"""What crossval leaves for eval: the clips' predictions by other folds' networks, and a summary."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.csv_safety import unescape_formula
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow
from data_prep.status import Status
from pipeline.errors import UserError
from pipeline.evaluation.evaluated_clips import write_table
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction
from pipeline.tasks.base import Task

TABLE_NAME, SUMMARY_NAME = "out_of_fold.csv", "crossval.json"
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
    write_table(run / TABLE_NAME, kept.clips, task, labels, model)
    write_text_atomically(run / SUMMARY_NAME, json.dumps(kept.summary, indent=1) + "\n")


def read_out_of_fold(run: Path, task: Task, labels: Sequence[str]) -> OutOfFold | None:
    """None where the run is no crossval's. Raises UserError where its files are damaged."""
    if not (run / SUMMARY_NAME).is_file():
        return None
    try:
        summary = json.loads((run / SUMMARY_NAME).read_text("utf-8"))
        with (run / TABLE_NAME).open(
            encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            clips = [_clip(row, task, labels) for row in csv.DictReader(file)]
        judged = sum(clip.prediction.probabilities is not None for clip in clips)
        if any(method["n"] != judged for method in summary["baselines"].values()):
            raise ValueError(f"{judged} clips are judged in {TABLE_NAME}, another number before")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run / TABLE_NAME} or {SUMMARY_NAME} is damaged ({error}); delete "
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
