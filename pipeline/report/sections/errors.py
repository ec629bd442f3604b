"""Section: worst errors and least confident correct clips, with frames and spectrograms."""

from __future__ import annotations

from typing import Any

from pipeline.report.clip_lists import least_confident, worst_errors
from pipeline.report.contact_sheets import PICTURES_BYTES, sheets, within_budget
from pipeline.report.page import Page

NAV = ("errors", "errors")
MOST_ERRORS, MOST_UNCERTAIN = 40, 20


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    wrong = worst_errors(evaluation)
    errors, uncertain = wrong[:MOST_ERRORS], least_confident(evaluation)[:MOST_UNCERTAIN]
    shown = [entry.clip.row for entry in [*errors, *uncertain]]
    made = sheets(shown, evaluation.prepared, page.config, page.progress)
    # errors come first, so the limit drops images of correct clips
    made = within_budget([row.key for row in shown], made)
    return {
        "errors": errors,
        "uncertain": uncertain,
        "sheets": made,
        "longest_sound_s": max((sheet.sound_s for sheet in made.values()), default=0.0),
        "n_wrong": len(wrong),
        "most_errors": MOST_ERRORS,
        "most_uncertain": MOST_UNCERTAIN,
        "pictures_mb": PICTURES_BYTES // 1_000_000,
    }
