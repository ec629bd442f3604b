"""Section: worst errors and least confident correct clips, with frames and spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.report.clip_lists import least_confident, worst_errors
from pipeline.report.contact_sheets import Sheet, sheets
from pipeline.report.page import Page

NAV = ("errors", "errors")
MOST_ERRORS, MOST_UNSURE = 40, 20
PICTURES_BYTES = 12_000_000  # of all contact sheets together


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    wrong = worst_errors(evaluation)
    errors, unsure = wrong[:MOST_ERRORS], least_confident(evaluation)[:MOST_UNSURE]
    shown = [entry.clip.row for entry in [*errors, *unsure]]
    made = sheets(shown, evaluation.prepared, page.config, page.progress)
    # errors come first, so the limit drops images of correct clips
    made = within_budget([row.key for row in shown], made)
    return {
        "errors": errors,
        "unsure": unsure,
        "sheets": made,
        "longest_sound_s": max((sheet.sound_s for sheet in made.values()), default=0.0),
        "n_wrong": len(wrong),
        "most_errors": MOST_ERRORS,
        "most_unsure": MOST_UNSURE,
        "pictures_mb": PICTURES_BYTES // 1_000_000,
    }


def within_budget(
    keys: Sequence[Any], made: dict[Any, Sheet], most_bytes: int = PICTURES_BYTES
) -> dict[Any, Sheet]:
    """The sheets of these keys, in order, until their total size exceeds most_bytes."""
    kept, total = {}, 0
    for key in keys:
        sheet = made.get(key)
        if sheet is not None and key not in kept:
            total += sheet.size_bytes
            if total > most_bytes:
                break
            kept[key] = sheet
    return kept
