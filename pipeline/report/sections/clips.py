"""Section: all clips, and the files without a prediction."""

from __future__ import annotations

from typing import Any

from pipeline.report.clip_lists import clip_rows, failed_rows
from pipeline.report.page import Page

NAV = ("clips", "all clips")
MOST_ROWS = 5000  # of each table; predictions.csv has all


def context(page: Page) -> dict[str, Any]:
    rows, failed = clip_rows(page.evaluation), failed_rows(page.evaluation)
    return {
        "rows": rows[:MOST_ROWS],
        "n_rows": len(rows),
        "failed": failed[:MOST_ROWS],
        "n_failed": len(failed),
    }
