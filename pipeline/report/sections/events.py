"""Section: the result of event lists: sentences, baselines, the lists that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.evaluation.evaluate import Evaluation
from pipeline.report.page import Page
from pipeline.tasks.events import Events
from pipeline.text_format import counted, gain_span, percent, points, span

NAV = ("events", "event lists")

_MOST_LISTS = 50
BASELINES = {
    "most_frequent_list": "always the most frequent list",
    "logistic_step": "the order of a logistic regression on single steps",
    "logistic_window": "the order of a logistic regression on 5 s around each step",
    "logistic_clips": "the order of a logistic regression on whole segments, in windows of 5 s",
}


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    task = evaluation.task
    assert isinstance(task, Events)
    wrong: list[dict[str, Any]] = []
    for clip in evaluation.predicted_clips:
        prediction, true = clip.prediction, ";".join(task.events_of(clip.row))
        assert prediction.probabilities is not None
        cells = task.cells(prediction.probabilities, evaluation.labels, 0.0, prediction.classes)
        if cells[0] != true:
            name = Path(clip.row.path).name
            wrong.append({"name": name, "true": true, "predicted": cells[0], "p": float(cells[1])})
    wrong.sort(key=lambda each: float(each["p"]), reverse=True)  # confident errors first
    return {
        "event_sentences": sentences(evaluation.metrics, evaluation.what),
        "event_baselines": BASELINES,
        "wrong_lists": wrong[:_MOST_LISTS],
        "n_lists_left": max(0, len(wrong) - _MOST_LISTS),
    }


def sentences(metrics: dict[str, Any], what: str) -> list[str]:
    """The result in sentences. what: the evaluated clips in words."""
    found = [
        f"{percent(metrics['accuracy'])} ({span(metrics['accuracy_interval'])}) of the lists of "
        f"{counted(metrics['n'], 'clip')} of {what} are exactly right; the edit score is "
        f"{percent(metrics['edit'])}.",
        f"Of {counted(metrics['n_true_events'], 'event')}, {percent(metrics['recall'])} were found "
        f"in their order; of {metrics['n_predicted_events']} predicted ones, "
        f"{percent(metrics['precision'])} are right.",
    ]
    best = max(metrics["baselines"], key=lambda n: metrics["baselines"][n]["accuracy"], default="")
    if best:
        baseline = metrics["baselines"][best]
        found.append(
            f"The best baseline, {BASELINES.get(best, best)}, has "
            f"{percent(baseline['accuracy'])} exactly right; the model minus the baseline is "
            f"{points(baseline['difference']['mean'])} points "
            f"({gain_span(baseline['difference'])})."
        )
    return found


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """What `eval` prints: header, rows, and notes."""
    metrics = evaluation.metrics
    head = ["", "exact", "edit", "precision", "recall", "F1"]
    rows = [_row("the model", metrics)]
    rows += [_row(BASELINES.get(name, name), each) for name, each in metrics["baselines"].items()]
    return head, rows, [*evaluation.notes, *sentences(metrics, evaluation.what)]


def _row(name: str, scores: dict[str, Any]) -> list[str]:
    keys = ("accuracy", "edit", "precision", "recall", "f1")
    return [name, *(f"{100 * scores[key]:.1f}" for key in keys)]
