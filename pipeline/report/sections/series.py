"""Section: the result of forecasts of numbers: a verdict, mean absolute error by horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.forecast import BEST
from pipeline.metrics.series import MEAN, NAIVE, SEASONAL
from pipeline.report.page import Page
from pipeline.report.plots import horizon_plot
from pipeline.text_format import counted, horizons_verdict

NAV = ("series", "forecast")

BASELINES = {
    NAIVE: "naive: the last number stays",
    SEASONAL: "seasonal naive: the number one season ago",
    MEAN: "the mean of the training numbers",
    BEST: "the best of these at each horizon",
}


def context(page: Page) -> dict[str, Any]:
    metrics = page.evaluation.metrics
    series = {"the model": metrics["by_horizon"]} | {
        BASELINES.get(name, name): each["by_horizon"]
        for name, each in metrics["baselines"].items()
        if name != BEST
    }
    plot = horizon_plot(series, metrics["step_s"], "mae")
    return {
        "series_sentences": sentences(metrics, page.evaluation.what),
        "series_baselines": BASELINES,
        "best_baseline": metrics["baselines"].get(BEST),
        "error": error_text,
        "lower": lower_text,
        "horizon_svg": Markup(plot),  # noqa: S704 - our own SVG
    }


def error_text(scores: dict[str, Any]) -> str:
    """A mean absolute error with its interval: "0.52 (0.4 to 0.64)"; "" if it is not known."""
    return "" if scores["mae"] is None else _number(scores["mae"]) + _range(scores["mae_interval"])


def lower_text(scores: dict[str, Any]) -> str:
    """How much lower the model's error is than a baseline's, with its interval."""
    gain = scores["difference"]
    if gain["mean"] is None:
        return ""
    return _number(gain["mean"]) + _range(None if gain["low"] is None else _pair(gain))


def sentences(metrics: dict[str, Any], what: str) -> list[str]:
    """The result in sentences. what: the evaluated files in words."""
    scored = [row for row in metrics["by_horizon"] if row["n_origins"]]  # one at least
    first, last = scored[0], scored[-1]
    step_s = metrics["step_s"]
    past = (
        "all steps before it"
        if metrics["history_steps"] is None
        else f"the last {counted(metrics['history_steps'], 'step')}"
    )
    found = [
        f"From {past}, the mean absolute error of {metrics['target']} "
        f"{first['horizon'] * step_s:.3g} s later is {error_text(first)}, at "
        f"{counted(first['n_origins'], 'step')} of {counted(metrics['n'], 'file')} of {what}"
        + (
            f"; {last['horizon'] * step_s:.3g} s later it is {error_text(last)}."
            if last is not first
            else "."
        )
    ]
    best = metrics["baselines"].get(BEST)
    if best is not None:
        found += [
            horizons_verdict([row for row in best["by_horizon"] if row["n_origins"]], BASELINES),
            _skill(best),
        ]
    return found


def _skill(best: dict[str, Any]) -> str:
    known = "The baselines know the true numbers up to each step; the model has to see and hear "
    known += "what they depend on."
    if best["skill"] is None:
        return known
    return (
        f"Its skill, 1 − its error / that of the best baseline of each horizon, is "
        f"{best['skill']:.2f} (0: as good, 1: perfect). {known}"
    )


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """What `eval` prints: header, rows, and notes."""
    metrics = evaluation.metrics
    head = ["error, steps ahead", *(str(row["horizon"]) for row in metrics["by_horizon"]), "all"]
    rows = [_row("the model", metrics)]
    rows += [_row(BASELINES.get(name, name), each) for name, each in metrics["baselines"].items()]
    return head, rows, [*evaluation.notes, *sentences(metrics, evaluation.what)]


def _row(name: str, scores: dict[str, Any]) -> list[str]:
    each = [row["mae"] for row in scores["by_horizon"]]
    cells = ["" if value is None else _number(value) for value in each]
    return [name, *cells, _number(scores["mae"])]


def _number(value: float) -> str:
    return f"{value:.3g}"


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({_number(interval[0])} to {_number(interval[1])})"


def _pair(gain: dict[str, Any]) -> list[float]:
    return [gain["low"], gain["high"]]
