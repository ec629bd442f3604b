"""Section: accuracy compared with baselines on the same clips."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipeline import text_format
from pipeline.report.page import Page
from pipeline.report.plots import comparison_plot

NAV = ("baselines", "baselines")


def context(page: Page) -> dict[str, Any]:
    metrics = page.evaluation.metrics
    names, values, intervals = ["the model"], [metrics["accuracy"]], [metrics["accuracy_interval"]]
    for key, result in metrics["baselines"].items():
        names.append(text_format.BASELINES[key])
        values.append(result["accuracy"])
        intervals.append(result["accuracy_interval"])
    # the model first, then the baselines in the order of metrics.json
    svg = comparison_plot(names, values, intervals)
    return {
        "baseline_names": text_format.BASELINES,
        "comparison_svg": Markup(svg),  # noqa: S704 - our own SVG
    }
