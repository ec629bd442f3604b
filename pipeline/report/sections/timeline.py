"""Section: the result of timelines: sentences, scores, strips of the files, boundary errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from markupsafe import Markup

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN
from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.segments import IntArray, runs
from pipeline.report.contact_sheets import sheets
from pipeline.report.page import Page
from pipeline.tasks.timeline import Timeline, labels_of_all
from pipeline.text_format import counted, gain_span, percent, points, span

NAV = ("timeline", "timelines")

_MOST_STRIPS = 12  # files, those with the most errors first
_MOST_SHEETS = 12
_WIDTH, _ROW_PX = 1000, 16
# Okabe and Ito, distinguishable with colour blindness; the background is drawn as a thin line
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#666666")
BASELINES = {
    "majority": "always the most frequent class",
    "logistic_step": "logistic regression on single steps",
    "logistic_window": "logistic regression on 5 s around each step",
    "logistic_clips": "logistic regression on whole segments, in windows of 5 s",
}


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    task, metrics = evaluation.task, evaluation.metrics
    assert isinstance(task, Timeline)
    strips: list[tuple[float, str, dict[str, Any]]] = []
    names = labels_of_all([clip.row for clip in evaluation.predicted_clips], evaluation.labels)
    for clip in evaluation.predicted_clips:
        predicted = task.predicted_classes(clip)
        truth = task.truth(clip.row, predicted.size, evaluation.labels)
        known = truth != UNKNOWN
        wrong = int((truth != predicted)[known].sum())
        others = task.other_timelines(clip.row, predicted.size, names)
        svg = strip(truth, predicted, names, task.background, task.step_s, others)
        shown = {
            "name": Path(clip.row.path).name,
            "accuracy": 1 - wrong / max(1, int(known.sum())),
            "others": sorted({segment.annotator for segment in clip.row.other_segments}),
            "svg": Markup(svg),  # noqa: S704 - our own SVG, in which labels are escaped
        }
        strips.append((-wrong * task.step_s, clip.row.path, shown))
    strips.sort(key=lambda each: each[:2])  # most errors first
    worst = disagreements(evaluation, task)
    pictures = sheets([each.part for each in worst], None, page.config, page.progress)
    return {
        "timeline_sentences": sentences(metrics, evaluation.what),
        "boundaries": boundary_counts(metrics["boundary_errors"]),
        "strips": [shown for _, _, shown in strips[:_MOST_STRIPS]],
        "n_strips_left": max(0, len(strips) - _MOST_STRIPS),
        "disagreements": [(each, pictures.get(each.part.key)) for each in worst],
        "step_baselines": BASELINES,
        "agreement_rows": agreement_rows(metrics),
        "class_colours": {
            label: colour_of(k, label, task.background) for k, label in enumerate(names)
        },
        "others_labels": names[len(evaluation.labels) :],
    }


@dataclass(frozen=True)
class Disagreement:
    """A stretch of a file with one true and another predicted class; part: its row."""

    part: ManifestRow
    truth: str
    predicted: str

    @property
    def name(self) -> str:
        return Path(self.part.path).name


def disagreements(evaluation: Evaluation, task: Timeline) -> list[Disagreement]:
    """The longest stretches of all files, the longest first."""
    found: list[tuple[float, str, float, Disagreement]] = []
    n_classes, labels = len(evaluation.labels), evaluation.labels
    for clip in evaluation.predicted_clips:
        predicted = task.predicted_classes(clip)
        truth = task.truth(clip.row, predicted.size, labels)
        wrong = (truth != UNKNOWN) & (truth != predicted)
        pairs = np.where(wrong, truth * n_classes + predicted, UNKNOWN)
        for run in runs(pairs):
            if run.label == UNKNOWN:
                continue
            begin_s = clip.row.start_s or 0.0
            start_s, end_s = (begin_s + step * task.step_s for step in (run.start, run.end))
            part = replace(
                clip.row, start_s=start_s, end_s=end_s, segments=(), id=f"{clip.row.id}-{run.start}"
            )
            pair = labels[run.label // n_classes], labels[run.label % n_classes]
            found.append((start_s - end_s, clip.row.path, start_s, Disagreement(part, *pair)))
    return [each for *_, each in sorted(found, key=lambda one: one[:3])[:_MOST_SHEETS]]


def boundary_counts(errors: dict[str, Any] | None) -> str:
    """Number of boundaries by error in steps: "−1: 2, 0: 90, +1: 39"; "" without boundaries."""
    if errors is None:
        return ""
    counted_errors = zip(errors["steps"], errors["counts"], strict=True)
    return ", ".join(
        f"{f'{step:+d}'.replace('-', '−') if step else '0'}: {n}" for step, n in counted_errors if n
    )


def colour_of(number: int, label: str, background: str) -> str:
    """Colour of a class; repeated if there are more classes than colours."""
    return "none" if label == background else _COLOURS[number % len(_COLOURS)]


def strip(
    truth: IntArray,
    predicted: IntArray,
    labels: Sequence[str],
    background: str,
    step_s: float,
    others: Mapping[str, IntArray] | None = None,
) -> str:
    """SVG of one file: truth above, prediction below, steps that differ marked between them.

    others: timelines of further annotators, each a row below these.
    """
    n_steps, others = max(1, truth.size), others or {}
    unit, height_px = _WIDTH / n_steps, _ROW_PX * (3 + 1.3 * len(others))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height_px:g}" '
        f'preserveAspectRatio="none" width="100%" height="{height_px:g}">'
    ]
    rows = [("", 0.0, truth), ("", 1.6 * _ROW_PX, predicted)]
    rows += [
        (f"{name}: ", (2.9 + 1.3 * k) * _ROW_PX, each)
        for k, (name, each) in enumerate(others.items())
    ]
    for who, row, timeline in rows:
        for run in runs(timeline):
            label = "unknown" if run.label == UNKNOWN else labels[run.label]
            fill = "none" if run.label == UNKNOWN else colour_of(run.label, label, background)
            times = f"{who}{label}, {run.start * step_s:g} to {run.end * step_s:g} s"
            stroke = ' stroke="currentColor" stroke-opacity=".35"' if fill == "none" else ""
            parts.append(
                f'<rect x="{run.start * unit:.2f}" y="{row:.1f}" '
                f'width="{(run.end - run.start) * unit:.2f}" '
                f'height="{_ROW_PX}" fill="{fill}"{stroke}><title>{escape(times)}</title></rect>'
            )
    differs = np.where(truth == UNKNOWN, False, truth != predicted).astype(np.int64)
    for run in runs(differs):
        if run.label:
            parts.append(
                f'<rect x="{run.start * unit:.2f}" y="{1.1 * _ROW_PX:.1f}" fill="currentColor" '
                f'width="{(run.end - run.start) * unit:.2f}" height="{0.4 * _ROW_PX:.1f}"/>'
            )
    return "".join([*parts, "</svg>"])


def sentences(metrics: dict[str, Any], what: str) -> list[str]:
    """The result in sentences. what: the evaluated files in words."""
    half = metrics["segment_f1"]["0.5"]
    ratio = metrics["segment_ratio"]
    found = [
        f"Accuracy per step is {percent(metrics['accuracy'])} "
        f"({span(metrics['accuracy_interval'])}) on {counted(metrics['n'], 'file')} of {what}; "
        f"macro-F1 per step is {metrics['macro_f1']:.2f}.",
        f"Segment F1 at an overlap of 50 % is {percent(half['f1'])} "
        f"({span(half['f1_interval'])}), the edit score {percent(metrics['edit'])}.",
        f"{counted(metrics['n_predicted_segments'], 'segment')} predicted, "
        f"{metrics['n_true_segments']} true"
        + ("." if ratio is None else f": {ratio:.2f} predicted for each true one."),
    ]
    errors = metrics["boundary_errors"]
    if errors is not None:
        found.append(
            f"Boundaries of matched segments are off by {errors['median_absolute_s']:.2g} s in the "
            f"median (a step is {metrics['step_s']:.2g} s)."
        )
    if metrics["agreement"] is not None:
        found.append(agreement_sentence(metrics["agreement"]))
    best = max(metrics["baselines"], key=lambda n: metrics["baselines"][n]["accuracy"], default="")
    if best:
        baseline = metrics["baselines"][best]
        found.append(
            f"The best baseline, {BASELINES.get(best, best)}, has an accuracy of "
            f"{percent(baseline['accuracy'])}; the model minus the baseline, averaged over files, "
            f"is {points(baseline['difference']['mean'])} points "
            f"({gain_span(baseline['difference'])})."
        )
    return found


def agreement_rows(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(title, scores) of people, and of the model on the files that several people labelled."""
    agreement = metrics["agreement"]
    if agreement is None:
        return []
    files = counted(agreement["n"], "file")
    who = "another person" if _is_one(agreement) else "other people"
    return [
        (f"{who}, on {files}", agreement["people"]),
        ("the model on these", agreement["model"]),
    ]


def _is_one(agreement: dict[str, Any]) -> bool:
    """Whether each file was labelled by one further person."""
    return bool(agreement["people"]["n"] == agreement["n"])


def agreement_sentence(agreement: dict[str, Any]) -> str:
    """How well people agree, and the model on the same files."""
    people, model = agreement["people"], agreement["model"]
    who = "another person agrees" if _is_one(agreement) else "other people agree"
    return (
        f"On {counted(agreement['n'], 'file')} that several people labelled, {who} with the labels "
        f"on {percent(people['accuracy'])} of the steps (F1@50 "
        f"{percent(people['segment_f1']['0.5']['f1'])}, edit {percent(people['edit'])}), the model "
        f"on {percent(model['accuracy'])} ({percent(model['segment_f1']['0.5']['f1'])}, "
        f"{percent(model['edit'])})."
    )


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """What `eval` prints: header, rows, and notes."""
    metrics = evaluation.metrics
    head = ["", "accuracy", "macro-F1", "F1@10", "F1@25", "F1@50", "edit", "predicted : true"]
    rows = [_row("the model", metrics)]
    rows += [_row(name.replace("_", " "), each) for name, each in metrics["baselines"].items()]
    rows += [_row(name, each) for name, each in agreement_rows(metrics)]
    return head, rows, [*evaluation.notes, *sentences(metrics, evaluation.what)]


def _row(name: str, scores: dict[str, Any]) -> list[str]:
    f1 = [f"{100 * each['f1']:.1f}" for each in scores["segment_f1"].values()]
    ratio = "" if scores["segment_ratio"] is None else f"{scores['segment_ratio']:.2f}"
    return [
        name, f"{100 * scores['accuracy']:.1f}", f"{scores['macro_f1']:.2f}", *f1,
        f"{100 * scores['edit']:.1f}", ratio,
    ]  # fmt: skip
