"""A comparison in sentences; each is a rule over the numbers.

compare.html: runs side by side on one page that opens from disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.evaluation.comparison import (
    Comparison,
    EvaluatedRun,
    RunComparison,
    changed_clips,
    is_significant,
)
from pipeline.evaluation.evaluation_files import ClipResult, Key
from pipeline.evaluation.training_overlap import OTHER_DATA, OUT_OF_FOLD, TEST_SPLIT
from pipeline.leak_audit.audit_result import clip_name
from pipeline.metrics.classification import Difference
from pipeline.report import plots
from pipeline.report.clip_lists import address_of
from pipeline.report.render import write_page
from pipeline.text_format import counted, gain_span, joined, points, quoted, size_in_points

_MOST_LABELS = 3
_WAYS = {
    TEST_SPLIT: "as its test split",
    OUT_OF_FOLD: "in folds, by networks trained on the others",
    OTHER_DATA: "as another set (--data)",
}


def comparison_text(found: Comparison) -> list[str]:
    """What to know before anything is believed, then what was found."""
    return [*comparison_warnings(found), *comparison_results(found)]


def comparison_warnings(found: Comparison) -> list[str]:
    """Why the runs' scores may not say the same; nothing where they do."""
    sentences = [text for run in found.runs for text in caveats(run)]
    if len({run.metrics["evaluated_on"] for run in found.runs}) > 1:
        sentences.append(setting_differences(found.runs))
    return sentences


def comparison_results(found: Comparison) -> list[str]:
    """Of each run against the first: whether it is better, on what, and which clips changed."""
    first, *rest = found.runs
    sentences: list[str] = []
    for other, run in zip(found.others, rest, strict=True):
        unfair = optimistic_gain(first, run, other.difference.mean)
        if unfair:
            sentences.append(no_verdict(unfair))
        else:
            sentences += filter(None, (verdict(first.name, other), classes(other), changes(other)))
    if found.n_left_out:
        sentences.append(
            f"{counted(found.n_left_out, 'clip')} that not all runs could judge "
            f"{'is' if found.n_left_out == 1 else 'are'} left out."
        )
    return sentences


def caveats(run: EvaluatedRun) -> list[str]:
    """Why a run's score cannot be believed; nothing where it can."""
    said = []
    if run.trained_on:
        said.append(f"{run.name} was trained on {run.trained_on} of these clips.")
    if run.trained_on is None:
        said.append(
            f"Nobody looked whether {run.name} was trained on some of these clips, or on others of "
            "their recordings."
        )
    elif run.leaking is None:
        said.append(
            f"Nobody looked whether {run.name} was trained on clips of the same recordings."
        )
    elif run.leaking:
        are = "is" if run.leaking == 1 else "are"
        said.append(
            f"{run.leaking} of these clips {are} of one recording with clips that "
            f"{run.name} was trained on."
        )
    return said


def setting_differences(runs: Sequence[EvaluatedRun]) -> str:
    """Where the same clips were judged in different ways."""
    parts = [f"{run.name} {_WAYS[run.metrics['evaluated_on']]}" for run in runs]
    return f"They were judged in different ways: {joined(parts)}."


def optimistic_gain(first: EvaluatedRun, other: EvaluatedRun, gain: float) -> list[str]:
    """Names of those whose score says nothing beside the other's: trained on these clips, or not
    behind (gain: of the other one) with more of them near to clips trained on."""
    pairs = ((first, other, -gain), (other, first, gain))
    return [
        run.name
        for run, beside, ahead in pairs
        if run.trained_on or (ahead >= 0 and _leaks_more(run, beside))
    ]


def _leaks_more(run: EvaluatedRun, beside: EvaluatedRun) -> bool:
    """Or may do, for all that anybody knows."""
    if run.leaking is None:
        return bool(beside.leaking)
    return run.leaking > (beside.leaking or 0)


def no_verdict(unfair: Sequence[str]) -> str:
    """Instead of a verdict, where a score flatters."""
    scores = f"score of {unfair[0]} may" if len(unfair) == 1 else "scores of both may"
    return (
        f"Which is better on clips that neither has seen cannot be said: the {scores} flatter. "
        "Evaluate both on clips of recordings that neither was trained on (eval --data and --out)."
    )


def verdict(first: str, other: RunComparison) -> str:
    """Better, worse, or neither for certain."""
    difference = other.difference
    gain = difference.mean
    if gain == 0:
        return f"{other.name} is right as often as {first}."
    if difference.low is None:
        sure = ", from too few groups to say whether that is chance"
    else:
        sure = (
            f"{'' if is_significant(difference) else ', which may be chance'} ({_span(difference)})"
        )
    how = "better" if gain > 0 else "worse"
    return f"{other.name} is {size_in_points(gain)} {how} than {first}{sure}."


def classes(other: RunComparison) -> str:
    """Labels on which the two differ by more than chance."""
    if not other.sure_classes:
        return ""
    gains = {label: other.per_class[label].mean for label in other.sure_classes}
    ordered = sorted(gains, key=lambda label: -abs(gains[label]))
    parts = [f"{quoted(label)} {points(gains[label])}" for label in ordered]
    return (
        "Labels found more or less often by more than chance, in points: "
        f"{joined(parts, _MOST_LABELS)}."
    )


def changes(other: RunComparison) -> str:
    """Clips named rightly by one alone; nothing where there is none."""
    if not other.gained and not other.lost:
        return ""
    gained, lost = _some(other.gained, "right"), _some(other.lost, "wrong")
    return f"{gained[0].upper()}{gained[1:]}, {lost}."


def _some(keys: Sequence[Key], how: str) -> str:
    if not keys:
        return f"none became {how}"
    return f"{counted(len(keys), 'clip')} became {how} (for example {Path(keys[0][0]).name})"


def _span(difference: Difference) -> str:
    return gain_span({"low": difference.low, "high": difference.high})


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


def _row(key: Key, said: list[ClipResult]) -> dict[str, Any]:
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
