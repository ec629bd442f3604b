"""Section: how to reproduce model and report, and training curves."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipeline.report.page import Page
from pipeline.report.plots import curves_plot
from pipeline.training.epoch_selection import EPOCHS_NAME

NAV = ("again", "reproduce")


def context(page: Page) -> dict[str, Any]:
    svg = curves_plot(page.evaluation.run / EPOCHS_NAME)
    return {
        "command": page.command,  # "" from Python
        "training_svg": Markup(svg),  # noqa: S704 - our own SVG
    }
