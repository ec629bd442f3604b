"""Section: the result of forecasts: a verdict, accuracy by horizon, baselines."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.forecast import BEST, LAST_LABEL
from pipeline.report.page import Page
from pipeline.report.plots import horizon_plot
from pipeline.text_format import counted, gain_span, horizons_verdict, in_points, percent, span

NAV = ("forecast", "forecast")

BASELINES = {
    LAST_LABEL: "persistence: the last label stays",
    "most_frequent": "always the most frequent class",
    "markov_chain": "the Markov chain of the labels",
    "segment_chain": "the chain of segments and their lengths",
    BEST: "the best of these at each horizon",
}


def context(page: Page) -> dict[str, Any]:
    metrics = page.evaluation.metrics
    series = {"the model": metrics["by_horizon"]} | {
        BASELINES.get(name, name): each["by_horizon"]
        for name, each in metrics["baselines"].items()
        if name != BEST
    }
    return {
        "forecast_sentences": sentences(metrics, page.evaluation.what),
        "forecast_baselines": BASELINES,
        "best_baseline": metrics["baselines"].get(BEST),
        "horizon_svg": Markup(horizon_plot(series, metrics["step_s"])),  # noqa: S704 - our own SVG
    }


def sentences(metrics: dict[str, Any], what: str) -> list[str]:
    """The result in sentences. what: the evaluated files in words."""
    scored = [row for row in metrics["by_horizon"] if row["n_origins"]]  # one at least
    first, last = scored[0], scored[-1]
    step_s = metrics["step_s"]
    past = (
        "all steps before it"
        if metrics["history_steps"] is None
        else f"the last {counted(metrics['history_steps'], 'step')} and the length of the segment"
    )
    found = [
        f"From {past}, the label {_seconds(first['horizon'] * step_s)} later is right in "
        f"{percent(first['accuracy'])} ({span(first['accuracy_interval'])}) of "
        f"{first['n_origins']} steps of {counted(metrics['n'], 'file')} of {what}"
        + (
            f", {_seconds(last['horizon'] * step_s)} later in {percent(last['accuracy'])}."
            if last is not first
            else "."
        )
    ]
    best = metrics["baselines"].get(BEST)
    if best is not None:
        rows = [row for row in best["by_horizon"] if row["n_origins"]]
        found += [horizons_verdict(rows, BASELINES), *_overall(best)]
    return found


def _seconds(value_s: float) -> str:
    return f"{value_s:.3g} s"


def _overall(best: dict[str, Any]) -> list[str]:
    return [
        f"Its skill, the accuracy above that of the best baseline of each horizon, is "
        f"{in_points(best['difference']['mean'])} ({gain_span(best['difference'])}). The baselines "
        "know the true labels up to each step; the model has to see and hear them."
    ]


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """What `eval` prints: header, rows, and notes."""
    metrics = evaluation.metrics
    head = ["steps ahead", *(str(row["horizon"]) for row in metrics["by_horizon"]), "all"]
    rows = [_row("the model", metrics)]
    rows += [_row(BASELINES.get(name, name), each) for name, each in metrics["baselines"].items()]
    return head, rows, [*evaluation.notes, *sentences(metrics, evaluation.what)]


def _row(name: str, scores: dict[str, Any]) -> list[str]:
    each = [row["accuracy"] for row in scores["by_horizon"]]
    cells = ["" if value is None else f"{100 * value:.1f}" for value in each]
    return [name, *cells, f"{100 * scores['accuracy']:.1f}"]
