"""The comparison of runs, in sentences and as compare.html, a single page that opens from disk.

Each sentence is a rule: a function of the numbers that returns "" or nothing if it does not
apply.
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
from pipeline.metrics.metrics_schema import Difference
from pipeline.report import plots
from pipeline.report.clip_lists import address_of
from pipeline.report.page import write_page
from pipeline.text_format import counted, gain_span, joined, points, quoted, size_in_points

_MOST_LABELS = 3  # named in a sentence
_WAYS = {
    TEST_SPLIT: "on its test split",
    OUT_OF_FOLD: "out of fold, by networks trained on the other folds",
    OTHER_DATA: "on another data set (--data)",
}


def comparison_text(found: Comparison) -> list[str]:
    """Warnings first, then the results."""
    return [*comparison_warnings(found), *comparison_results(found)]


def comparison_warnings(found: Comparison) -> list[str]:
    """Why the scores of the runs may not be comparable; empty if they are."""
    sentences = [text for run in found.runs for text in caveats(run)]
    # out-of-fold and test-split scores come from different networks
    if len({run.metrics["evaluated_on"] for run in found.runs}) > 1:
        sentences.append(setting_differences(found.runs))
    return sentences


def comparison_results(found: Comparison) -> list[str]:
    """For each run against the first: is it better, on which labels, and which clips changed."""
    first, *rest = found.runs
    sentences: list[str] = []
    for other, run in zip(found.others, rest, strict=True):
        optimistic = optimistic_gain(first, run, other.difference.mean)
        if optimistic:
            sentences.append(no_verdict(optimistic))
        else:
            sentences += filter(None, (verdict(first.name, other), classes(other), changes(other)))
    if found.n_left_out:
        sentences.append(
            f"{counted(found.n_left_out, 'clip')} {'is' if found.n_left_out == 1 else 'are'} left "
            f"out because not all runs could classify {'it' if found.n_left_out == 1 else 'them'}."
        )
    return sentences


def caveats(run: EvaluatedRun) -> list[str]:
    """Why a run's score may be too high; empty if no reason is known."""
    sentences = []
    if run.trained_on:
        sentences.append(f"{run.name} was trained on {run.trained_on} of these clips.")
    if run.trained_on is None:  # None: not checked, so nothing can be said of leaks either
        sentences.append(
            f"It was not checked whether {run.name} was trained on some of these clips, or on "
            "other clips of their recordings."
        )
    elif run.leaking is None:
        sentences.append(
            f"It was not checked whether {run.name} was trained on clips of the same recordings."
        )
    elif run.leaking:
        come = "comes" if run.leaking == 1 else "come"
        sentences.append(
            f"{run.leaking} of these clips {come} from the same recording as training clips of "
            f"{run.name}."
        )
    return sentences


def setting_differences(runs: Sequence[EvaluatedRun]) -> str:
    """In which way each run was evaluated, if these differ."""
    parts = [f"{run.name} {_WAYS[run.metrics['evaluated_on']]}" for run in runs]
    return f"The runs were evaluated in different ways: {joined(parts)}."


def optimistic_gain(first: EvaluatedRun, other: EvaluatedRun, gain: float) -> list[str]:
    """Names of the runs whose score may be optimistic compared with the other one.

    A run is named if it was trained on these clips, or if it is not behind and more of its clips
    share a recording with its training clips. gain: accuracy of `other` minus that of `first`.
    """
    pairs = ((first, other, -gain), (other, first, gain))
    return [
        run.name
        for run, other_run, ahead in pairs
        # a run that is behind in spite of its leaks is still comparable
        if run.trained_on or (ahead >= 0 and _leaks_more(run, other_run))
    ]


def _leaks_more(run: EvaluatedRun, other_run: EvaluatedRun) -> bool:
    """Whether more clips of this run share recordings with training clips, or may do so."""
    if run.leaking is None:
        return bool(other_run.leaking)  # unknown counts as at least as many as the other run has
    # an unknown count of the other run does not excuse this one
    return run.leaking > (other_run.leaking or 0)


def no_verdict(optimistic: Sequence[str]) -> str:
    """The sentence given instead of a verdict if a score may be optimistic."""
    scores = f"score of {optimistic[0]} may" if len(optimistic) == 1 else "scores of both may"
    return (
        f"Which run is better on unseen clips cannot be determined: the {scores} be optimistic. "
        "Evaluate both on clips of recordings that neither was trained on (eval --data and --out)."
    )


def verdict(first: str, other: RunComparison) -> str:
    """Whether a run is better or worse than the first, and whether that may be chance."""
    difference = other.difference
    gain = difference.mean
    if gain == 0:  # neither better nor worse, so there is no interval to quote
        return f"{other.name} has the same accuracy as {first}."
    if difference.low is None:
        certainty = ", with too few groups to tell whether that is chance"
    else:
        certainty = (
            f"{'' if is_significant(difference) else ', which may be chance'} ({_span(difference)})"
        )
    how = "better" if gain > 0 else "worse"
    return f"{other.name} is {size_in_points(gain)} {how} than {first}{certainty}."


def classes(other: RunComparison) -> str:
    """Labels whose recall differs significantly between the two runs."""
    if not other.significant_classes:
        return ""
    gains = {label: other.per_class[label].mean for label in other.significant_classes}
    # the largest differences first, since only a few are named
    ordered = sorted(gains, key=lambda label: -abs(gains[label]))
    parts = [f"{quoted(label)} {points(gains[label])}" for label in ordered]
    return (
        "Labels whose recall differs by more than chance, in points: "
        f"{joined(parts, _MOST_LABELS)}."
    )


def changes(other: RunComparison) -> str:
    """Clips that only one of the two runs classifies correctly, counted, with an example."""
    if not other.gained and not other.lost:
        return ""
    gained, lost = (
        _count_with_example(other.gained, "correct"),
        _count_with_example(other.lost, "wrong"),
    )
    return f"{gained[0].upper()}{gained[1:]}, {lost}."


def _count_with_example(keys: Sequence[Key], how: str) -> str:
    if not keys:
        return f"none became {how}"
    return f"{counted(len(keys), 'clip')} became {how} (for example {Path(keys[0][0]).name})"


def _span(difference: Difference) -> str:
    return gain_span({"low": difference.low, "high": difference.high})


_MOST_ROWS = 5000  # of changed clips; changed.csv has them all


def write_compare_page(path: Path, found: Comparison) -> None:
    """Write compare.html by temporary file and rename."""
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
        "rows": [_row(key, results) for key, results in changed[:_MOST_ROWS]],
        "n_rows": len(changed),
        "comparison_svg": Markup(bars),  # noqa: S704 - our own SVG
    }
    write_page(path, "compare.html.j2", context)


def _labels(found: Comparison, scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of labels: recall in every run, and differences from the first run."""
    return [
        {
            "label": label,
            "clips": row["support"],
            "recalls": [each["per_class"][label]["recall"] for each in scores],
            "differences": [
                (other.per_class[label], label in other.significant_classes)
                for other in found.others
            ],
        }
        for label, row in found.first["per_class"].items()
        if row["support"]
    ]


def _row(key: Key, results: list[ClipResult]) -> dict[str, Any]:
    right = [each.right for each in results]
    kind = "same"
    if right[0] != right[-1]:  # the page's filter compares the first run with the last
        kind = "lost" if right[0] else "gained"
    # keys hold times as the CSV has them: text, empty if unset
    start_s, end_s = (float(text) if text else None for text in key[1:])
    return {
        "name": clip_name(key[0], start_s, end_s),
        "address": address_of(key[0]),
        "label": results[0].label,
        "predictions": [(each.predicted, each.right, each.probability) for each in results],
        "kind": kind,
    }
