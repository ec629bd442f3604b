"""Section: accuracy of subgroups of the clips."""

from __future__ import annotations

from typing import Any

from pipeline.report.page import Page

NAV = ("parts", "subgroups")


def context(page: Page) -> dict[str, Any]:
    return {}  # the metrics are all it needs
