"""Section: accuracy against coverage, and calibration of the probabilities."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipeline.metrics.reliability import WANTED_ACCURACIES
from pipeline.report.page import Page
from pipeline.report.plots import calibration_plot, coverage_plot
from pipeline.report.warnings import miscalibration

NAV = ("sureness", "confidence")
_WORDS = {
    "": "",
    "high": "overconfident",
    "low": "underconfident",
    "mixed": "overconfident in its highest probabilities and underconfident in the others",
}


def context(page: Page) -> dict[str, Any]:
    metrics = page.evaluation.metrics
    calibration = metrics["calibration"]
    # None for fewer than 20 clips
    svg = "" if calibration is None else calibration_plot(calibration["bins"])
    return {
        "coverage_svg": Markup(coverage_plot(metrics["coverage"])),  # noqa: S704 - our own SVG
        "calibration_svg": Markup(svg),  # noqa: S704 - our own SVG
        "miscalibrated": "" if calibration is None else _WORDS[miscalibration(calibration)],
        "wanted": [f"{100 * share:.0f}" for share in WANTED_ACCURACIES],
    }
