"""Section: confusion matrix, and the most frequent confusions."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipeline.metrics.classification import confusion_order, most_confused
from pipeline.report.page import Page
from pipeline.report.plots import MOST_NUMBERED, confusion_plot

NAV = ("confusions", "confusions")


def context(page: Page) -> dict[str, Any]:
    confusion = page.evaluation.metrics["confusion"]
    labels, counts = confusion["labels"], confusion["counts"]
    order = confusion_order(counts)
    # rows and columns in the same order, so that the diagonal stays the diagonal
    svg = confusion_plot(
        [labels[k] for k in order], [[counts[row][column] for column in order] for row in order]
    )
    return {
        "confusion_svg": Markup(svg),  # noqa: S704 - our own SVG
        "most_numbered": MOST_NUMBERED,
        "confused": [
            (labels[row], labels[column], n, sum(counts[row]))  # the sum: all clips of the label
            for row, column, n in most_confused(counts, most=10)
        ],
    }
