"""Section: the result in sentences, with warnings."""

from __future__ import annotations

from typing import Any

from pipeline.evaluation.evaluate import Evaluation
from pipeline.report.page import Page
from pipeline.report.summary_text import headline
from pipeline.report.warnings import warnings

NAV = None  # at the top of the page


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    return {
        "headline": headline(evaluation.metrics, evaluation.what),
        "warnings": warnings(evaluation.metrics, evaluation.notes),
    }


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """(columns, rows, sentences below the table), for a terminal."""
    metrics = evaluation.metrics
    rows = [["the model", f"{metrics['accuracy']:.1%}", f"{metrics['macro_f1']:.3f}"]]
    rows += [
        [name.replace("_", " "), f"{result['accuracy']:.1%}", f"{result['macro_f1']:.3f}"]
        for name, result in metrics["baselines"].items()
    ]
    # warnings first, since they limit what the result is worth
    sentences = [*warnings(metrics, evaluation.notes), *headline(metrics, evaluation.what)]
    return ["", "accuracy", "macro-F1"], rows, sentences
