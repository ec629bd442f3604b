"""compare.html: runs side by side on one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.auditing.outcome import clip_name
from pipeline.comparing.compare import Comparison, changed_clips
from pipeline.comparing.told import comparison_results, comparison_warnings
from pipeline.evaluating.table import Key, Said
from pipeline.page import plots
from pipeline.page.clip_lists import address_of
from pipeline.page.render import write_page

_MOST_ROWS = 5000


def write_compare_page(path: Path, found: Comparison) -> None:
    """Render the page and write it by temporary file and rename."""
    names = [run.name for run in found.runs]
    scores = [found.first, *(other.scores for other in found.others)]
    bars = plots.comparison_plot(
        names,
        [each["accuracy"] for each in scores],
        [each["accuracy_interval"] for each in scores],
    )
    changed = changed_clips(found)
    context = {
        "names": names,
        "n": len(found.keys),
        "warnings": comparison_warnings(found),
        "headline": comparison_results(found),
        "scores": scores,
        "others": found.others,
        "labels": _labels(found, scores),
        "rows": [_row(key, said) for key, said in changed[:_MOST_ROWS]],
        "n_rows": len(changed),
        "comparison_svg": Markup(bars),  # noqa: S704 - our own SVG
    }
    write_page(path, "compare.html.j2", context)


def _labels(found: Comparison, scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recall of each label that these clips have, in every run, and its differences."""
    return [
        {
            "label": label,
            "clips": row["support"],
            "recalls": [each["per_class"][label]["recall"] for each in scores],
            "differences": [
                (other.per_class[label], label in other.sure_classes) for other in found.others
            ],
        }
        for label, row in found.first["per_class"].items()
        if row["support"]
    ]


def _row(key: Key, said: list[Said]) -> dict[str, Any]:
    right = [each.right for each in said]
    kind = "both wrong"
    if right[0] != right[-1]:
        kind = "lost" if right[0] else "gained"
    start_s, end_s = (float(text) if text else None for text in key[1:])
    return {
        "name": clip_name(key[0], start_s, end_s),
        "address": address_of(key[0]),
        "label": said[0].label,
        "said": [(each.predicted, each.right, each.probability) for each in said],
        "kind": kind,
    }
