"""Section: contribution of picture and sound."""

from __future__ import annotations

from typing import Any

from pipeline.report.page import Page

NAV = ("modalities", "picture and sound")


def context(page: Page) -> dict[str, Any]:
    predictions = [clip.prediction for clip in page.evaluation.predicted_clips]
    # tells a set without such clips from a crossval that did not store the ablation
    return {"some_have_both": any(each.has_video and each.has_audio for each in predictions)}
