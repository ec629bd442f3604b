"""Section: scores of each label, and precision-recall curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.classification import recall_and_precision
from pipeline.report.page import Page
from pipeline.report.plots import MOST_CURVES, ranking_plot

NAV = ("labels", "labels")


def context(page: Page) -> dict[str, Any]:
    svg = ranking_plot(_rankings(page.evaluation))
    return {
        "ranking_svg": Markup(svg),  # noqa: S704 - our own SVG
        "most_curves": MOST_CURVES,
    }


def _rankings(evaluation: Evaluation) -> dict[str, np.ndarray | None]:
    """{label: precision-recall curve} of the labels with the lowest average precision."""
    clips = evaluation.predicted_clips
    probabilities = np.stack([np.asarray(clip.prediction.probabilities) for clip in clips])
    truth = np.array([clip.row.label for clip in clips], dtype=object)
    per_class = evaluation.metrics["per_class"]
    # None for labels without clips, which have no recall
    known = [k for k in per_class if per_class[k]["average_precision"] is not None]
    # the worst first: near-perfect curves show little
    ordered = sorted(known, key=lambda k: (per_class[k]["average_precision"], k))
    return {
        label: recall_and_precision(
            truth == label, probabilities[:, evaluation.labels.index(label)]
        )
        for label in ordered[:MOST_CURVES]
    }
