"""Section: facts on the evaluated set."""

from __future__ import annotations

from typing import Any

from pipeline.report.page import Page

NAV = ("data", "data")


def context(page: Page) -> dict[str, Any]:
    return {}  # the metrics are all it needs
