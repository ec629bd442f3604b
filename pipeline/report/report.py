"""report.html: one file that opens from disk, made from an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline import text_format
from pipeline.config import Config
from pipeline.evaluation.evaluate import Evaluation
from pipeline.leak_audit.audit_result import end_name
from pipeline.leak_audit.audit_text import summary_text
from pipeline.leak_audit.findings import PARTS_OF_ONE_FILE
from pipeline.metrics.classification import confusion_order, most_confused, recall_and_precision
from pipeline.report import plots
from pipeline.report.clip_lists import clip_rows, failed_rows, least_confident, worst_errors
from pipeline.report.contact_sheets import Sheet, sheets
from pipeline.report.render import write_page
from pipeline.report.summary_text import headline
from pipeline.report.warnings import DISHONEST, warnings
from pipeline.reporter import ProgressReporter
from pipeline.training.epoch_selection import EPOCHS_NAME

MOST_ERRORS, MOST_UNSURE = 40, 20
PICTURES_BYTES = 12_000_000
"""Of all contact sheets together."""
MOST_ROWS = 5000
MOST_FINDINGS = 200


def write_report(
    path: Path,
    evaluation: Evaluation,
    config: Config,
    progress: ProgressReporter,
    command: str = "",
) -> None:
    """Render the page and write it by temporary file and rename.

    command: what was typed; empty from Python.
    """
    context = (
        {"command": command}
        | _numbers(evaluation)
        | _plots(evaluation)
        | _clips(evaluation, config, progress)
    )
    write_page(path, "report.html.j2", context)


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    metrics = evaluation.metrics
    labels = metrics["confusion"]["labels"]
    return {
        "title": evaluation.run.name,
        "what": evaluation.what,
        "headline": headline(metrics, evaluation.what),
        "warnings": warnings(metrics, evaluation.notes),
        "m": metrics,
        "baseline_names": text_format.BASELINES,
        "confused": [
            (labels[row], labels[column], n, sum(metrics["confusion"]["counts"][row]))
            for row, column, n in most_confused(metrics["confusion"]["counts"], most=10)
        ],
        "audit_sentences": [] if metrics["audit"] is None else summary_text(metrics["audit"]),
        "findings": one_line_per_file(evaluation.findings)[:MOST_FINDINGS],
        "n_findings": len(one_line_per_file(evaluation.findings)),
        "end_name": end_name,
        "some_have_both": any(
            clip.prediction.has_video and clip.prediction.has_audio
            for clip in evaluation.predicted_clips
        ),
        "most_numbered": plots.MOST_NUMBERED,
        "most_curves": plots.MOST_CURVES,
        "dishonest": DISHONEST,
        "files": {clip.row.path: Path(clip.row.path).name for clip in evaluation.clips},
    }


def _plots(evaluation: Evaluation) -> dict[str, Any]:
    metrics = evaluation.metrics
    names, values, intervals = ["the model"], [metrics["accuracy"]], [metrics["accuracy_interval"]]
    for key, result in metrics["baselines"].items():
        names.append(text_format.BASELINES[key])
        values.append(result["accuracy"])
        intervals.append(result["accuracy_interval"])
    labels, counts = metrics["confusion"]["labels"], metrics["confusion"]["counts"]
    order = confusion_order(counts)
    drawn = {
        "comparison": plots.comparison_plot(names, values, intervals),
        "confusion": plots.confusion_plot(
            [labels[k] for k in order], [[counts[row][column] for column in order] for row in order]
        ),
        "coverage": plots.coverage_plot(metrics["coverage"]),
        "ranking": plots.ranking_plot(_rankings(evaluation)),
        "training": plots.curves_plot(evaluation.run / EPOCHS_NAME),
        "calibration": "",
    }
    if metrics["calibration"] is not None:
        drawn["calibration"] = plots.calibration_plot(metrics["calibration"]["bins"])
    return {f"{name}_svg": Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - our own SVG


def _rankings(evaluation: Evaluation) -> dict[str, np.ndarray | None]:
    """Curves of the labels with the lowest average precision first: they have most to show."""
    judged = evaluation.predicted_clips
    chances = np.stack([np.asarray(clip.prediction.probabilities) for clip in judged])
    truth = np.array([clip.row.label for clip in judged], dtype=object)
    per_class = evaluation.metrics["per_class"]
    known = [k for k in per_class if per_class[k]["average_precision"] is not None]
    ordered = sorted(known, key=lambda k: (per_class[k]["average_precision"], k))
    return {
        label: recall_and_precision(truth == label, chances[:, evaluation.labels.index(label)])
        for label in ordered[: plots.MOST_CURVES]
    }


def _clips(evaluation: Evaluation, config: Config, progress: ProgressReporter) -> dict[str, Any]:
    wrong = worst_errors(evaluation)
    errors = wrong[:MOST_ERRORS]
    unsure = least_confident(evaluation)[:MOST_UNSURE]
    shown = [entry.clip.row for entry in [*errors, *unsure]]
    made = within_budget(
        [row.key for row in shown], sheets(shown, evaluation.prepared, config, progress)
    )
    rows, failed = clip_rows(evaluation), failed_rows(evaluation)
    return {
        "errors": errors,
        "unsure": unsure,
        "sheets": made,
        "longest_sound_s": max((sheet.sound_s for sheet in made.values()), default=0.0),
        "n_wrong": len(wrong),
        "rows": rows[:MOST_ROWS],
        "n_rows": len(rows),
        "failed": failed[:MOST_ROWS],
        "n_failed": len(failed),
        "most_errors": MOST_ERRORS,
        "most_unsure": MOST_UNSURE,
        "pictures_mb": PICTURES_BYTES // 1_000_000,
    }


def within_budget(
    keys: Sequence[Any], made: dict[Any, Sheet], most_bytes: int = PICTURES_BYTES
) -> dict[Any, Sheet]:
    """The sheets of these keys, in order, until they are too large together."""
    kept, total = {}, 0
    for key in keys:
        sheet = made.get(key)
        if sheet is not None and key not in kept:
            total += sheet.size_bytes
            if total > most_bytes:
                break
            kept[key] = sheet
    return kept


def one_line_per_file(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    """Findings with those of the parts of one file as one, which says how many pairs they are."""
    kept: list[dict[str, str]] = []
    of_file: dict[str, int] = {}
    for finding in findings:
        if finding["note"] != PARTS_OF_ONE_FILE:
            kept.append(finding)
        elif finding["first"] in of_file:
            line = kept[of_file[finding["first"]]]
            n = int(line["n_pairs"]) + 1
            line |= {"n_pairs": str(n), "note": f"{PARTS_OF_ONE_FILE}, {n} pairs"}
        else:
            of_file[finding["first"]] = len(kept)
            kept.append(finding | {"n_pairs": "1", "offset_s": ""})
    return kept
