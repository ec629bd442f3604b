"""Warnings about an evaluation: why its scores may be too high or too uncertain.

Each warning is a rule: a function of the metrics that returns "" if it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.leak_audit.audit_text import conflicts, judged_leaking
from pipeline.metrics.intervals import FEW_DECIDE, FEW_GROUPS, UNEVEN
from pipeline.text_format import (
    BASELINES,
    NOTABLE_GAP,
    counted,
    in_points,
    joined,
    percent,
    quoted,
    trained_on_text,
)

Metrics = dict[str, Any]

_FEW_CLIPS, _FEW_OF_A_LABEL = 100, 10
_NOTABLE_GAIN = 0.05  # gain in accuracy over the majority label by presence of streams alone
_LARGE = 0.5  # share of the clips
MISCALIBRATED = 0.05  # p-value below which probabilities count as miscalibrated


def warnings(metrics: Metrics, notes: Sequence[str] = ()) -> list[str]:
    """All warnings that apply, the most serious first, followed by the notes."""
    rules: list[Callable[[Metrics], str]] = [  # the most serious first
        trained_on, leaking, contradicting, training_unknown, not_better, one_group, few_groups,
        own_groups, some_own_groups, few_clips, one_large_group, uneven_groups,
        absent, rare, presence, overconfident, failed,
    ]  # fmt: skip
    return [*filter(None, (rule(metrics) for rule in rules)), *notes]


def leaking(metrics: Metrics) -> str:
    """Evaluated clips share recordings with training clips."""
    return "" if metrics["audit"] is None else judged_leaking(metrics["audit"])


def contradicting(metrics: Metrics) -> str:
    """Clips with the same content have different labels."""
    return "" if metrics["audit"] is None else conflicts(metrics["audit"])


def trained_on(metrics: Metrics) -> str:
    """Evaluated clips were training clips."""
    n = 0 if metrics["audit"] is None else metrics["audit"]["trained_on"]
    return trained_on_text(n, metrics["n"])


def training_unknown(metrics: Metrics) -> str:
    """The training clips are not available, so leaks cannot be ruled out."""
    if metrics["audit"] is None or metrics["audit"]["with_training"]:
        return ""
    return (
        "Not all clips that the model was trained on are available, so it is unknown whether some "
        "of the evaluated clips are among them."
    )


def not_better(metrics: Metrics) -> str:
    """The model is no better than a baseline."""
    baselines = metrics["baselines"]
    name = max(baselines, key=lambda key: baselines[key]["accuracy"], default=None)
    if name is None or metrics["accuracy"] > baselines[name]["accuracy"]:
        return ""
    best = percent(baselines[name]["accuracy"])
    return f"A baseline is as good or better: {BASELINES[name]}, {best}."


def one_group(metrics: Metrics) -> str:
    """All clips come from one source."""
    if metrics["n_groups"] > 1:
        return ""
    return (
        "All clips are from one group: the score says nothing about other sources (cameras, days, "
        "people)."
    )


def few_groups(metrics: Metrics) -> str:
    """Several sources, but too few."""
    # one group has a warning of its own
    if not 1 < metrics["n_groups"] < FEW_GROUPS or not metrics["groups_known"]:
        return ""
    intervals = "intervals are wide" if metrics["accuracy_interval"] else "there are no intervals"
    return (
        f"The clips are from only {metrics['n_groups']} groups: accuracy on new groups is "
        f"estimated from these few, so {intervals}."
    )


def own_groups(metrics: Metrics) -> str:
    """No clip has a group."""
    if metrics["groups_known"] or metrics["n_groups"] == 1:
        return ""
    return (
        "Every clip is its own group: if several come from one recording, day or camera, the score "
        "is too high. Add a group column to be sure."
    )


def some_own_groups(metrics: Metrics) -> str:
    """Some clips have no group."""
    n = metrics["n_without_group"]
    if not n or not metrics["groups_known"]:  # no groups at all has a warning of its own
        return ""
    return (
        f"{n} of the {counted(metrics['n'], 'clip')} {'has' if n == 1 else 'have'} no group and "
        f"{'counts' if n == 1 else 'count'} as one each: if some share a source, "
        + (
            "intervals are too narrow."
            if metrics["accuracy_interval"]
            else "there are fewer groups than stated."
        )
    )


def few_clips(metrics: Metrics) -> str:
    """So few clips that single ones change the score."""
    n = metrics["n"]
    if n >= _FEW_CLIPS:
        return ""
    return f"Only {counted(n, 'clip')}: a single clip changes the accuracy by {100 / n:.1f} points."


def one_large_group(metrics: Metrics) -> str:
    """More than half of the clips come from one of several sources."""
    largest = metrics["largest_group"]
    # with one group another warning applies
    if largest is None or metrics["n_groups"] == 1 or largest["n"] <= _LARGE * metrics["n"]:
        return ""
    return (
        f"{percent(largest['n'] / metrics['n'])} of the clips are from one group, "
        f"{quoted(largest['name'])}: the score mostly reflects that group."
    )


def uneven_groups(metrics: Metrics) -> str:
    """Few large groups dominate and decide the score: intervals may be too narrow."""
    n, even = metrics["n_groups"], metrics["even_groups"]
    if n < FEW_GROUPS or n < UNEVEN * even or metrics["even_groups_deciding"] >= FEW_DECIDE:
        return ""
    # the rarer of the two decides how well the score is known
    mistakes = "the clips classified correctly" if metrics["accuracy"] < 0.5 else "mistakes"
    return (
        f"A few large groups hold many of the clips ({n} groups count like {even:.0f} of equal "
        f"size) and {mistakes} are concentrated in few groups: the intervals may be too narrow."
    )


def absent(metrics: Metrics) -> str:
    """Labels without any clip."""
    labels = [label for label, values in metrics["per_class"].items() if not values["support"]]
    if not labels:
        return ""
    its = "its" if len(labels) == 1 else "their"
    return f"No clip here has the {_label_names(labels)}: {its} recall is unknown."


def rare(metrics: Metrics) -> str:
    """Labels with few clips."""
    labels = [
        label
        for label, values in metrics["per_class"].items()
        if 0 < values["support"] < _FEW_OF_A_LABEL
    ]
    if not labels:
        return ""
    each, its = ("", "its") if len(labels) == 1 else (" each", "their")
    return (
        f"Fewer than {_FEW_OF_A_LABEL} clips{each} have the {_label_names(labels)}: {its} "
        "scores are unreliable."
    )


def _label_names(labels: Sequence[str]) -> str:
    return f"label{'s' if len(labels) > 1 else ''} {joined([*map(quoted, labels)])}"


def presence(metrics: Metrics) -> str:
    """The mere presence of picture or sound predicts the label."""
    baselines = metrics["baselines"]
    if "presence" not in baselines or "majority" not in baselines:  # eval can leave baselines out
        return ""
    gain = baselines["presence"]["accuracy"] - baselines["majority"]["accuracy"]
    if gain <= _NOTABLE_GAIN:
        return ""
    return (
        "Whether a clip has picture and sound at all predicts its label better than guessing does "
        f"({in_points(gain)}): the labels were recorded differently, and the model may have "
        "learned that."
    )


def overconfident(metrics: Metrics) -> str:
    """Probabilities that do not match the accuracy, too high or too low."""
    found = metrics["calibration"]
    # None: too few clips; every clip correct: too low, which does no harm
    if found is None or found["accuracy"] == 1:
        return ""
    direction = miscalibration(found)
    if direction == "mixed":
        top_bin = found["bins"][-1]
        return (
            "Probabilities are not well calibrated: the highest are too high (mean "
            f"{percent(top_bin['mean_probability'])}, accuracy {percent(top_bin['accuracy'])}), "
            "the others too low."
        )
    return direction and (
        f"Probabilities are not well calibrated: too {direction} (mean "
        f"{percent(found['mean_probability'])}, accuracy {percent(found['accuracy'])})."
    )


def miscalibration(found: Metrics) -> str:
    """ "high", "low" or "mixed" probabilities; "" if not significant, or for too few groups.

    found: calibration of metrics.json. Mixed: too low on average, the highest too high.
    """
    if found["p_value"] is None or found["p_value"] >= MISCALIBRATED:
        return ""
    if found["mean_probability"] > found["accuracy"]:
        return "high"
    top_bin = found["bins"][-1]
    is_mixed = top_bin["mean_probability"] > top_bin["accuracy"] + NOTABLE_GAP
    return "mixed" if is_mixed else "low"


def failed(metrics: Metrics) -> str:
    """Labelled clips without a prediction, by status."""
    statuses = {
        status: n
        for status, n in metrics["data"]["statuses"].items()
        if status not in ("ok", "partial")  # only these two carry a prediction
    }
    if not statuses:
        return ""
    parts = joined([f"{n} {status}" for status, n in sorted(statuses.items())])
    return f"{counted(sum(statuses.values()), 'labelled clip')} could not be classified: {parts}."
