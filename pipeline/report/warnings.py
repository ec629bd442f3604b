"""What a reader must know before believing the numbers. Each warning is a rule over the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.leak_audit.audit_text import conflicts, judged_leaking
from pipeline.metrics.intervals import FEW_DECIDE, FEW_GROUPS, UNEVEN
from pipeline.text_format import (
    BASELINES,
    MUCH,
    counted,
    in_points,
    joined,
    percent,
    quoted,
    trained_on_text,
)

Metrics = dict[str, Any]

_FEW_CLIPS, _FEW_OF_A_LABEL = 100, 10
_TELLING = 0.05  # accuracy above guessing, by presence of picture and sound alone
_LARGE = 0.5
DISHONEST = 0.05


def warnings(metrics: Metrics, notes: Sequence[str] = ()) -> list[str]:
    """All that apply, the worst first."""
    rules: list[Callable[[Metrics], str]] = [
        trained_on, leaking, contradicting, training_unknown, not_better, one_group, few_groups,
        own_groups, some_own_groups, few_clips, one_large_group, uneven_groups,
        absent, rare, presence, overconfident, failed,
    ]  # fmt: skip
    return [*filter(None, (rule(metrics) for rule in rules)), *notes]


def leaking(metrics: Metrics) -> str:
    """Judged clips of one recording with clips trained on."""
    return "" if metrics["audit"] is None else judged_leaking(metrics["audit"])


def contradicting(metrics: Metrics) -> str:
    """One content with two labels."""
    return "" if metrics["audit"] is None else conflicts(metrics["audit"])


def trained_on(metrics: Metrics) -> str:
    """Judged by clips that it was trained on."""
    n = 0 if metrics["audit"] is None else metrics["audit"]["trained_on"]
    return trained_on_text(n, metrics["n"])


def training_unknown(metrics: Metrics) -> str:
    """The clips trained on are not at hand."""
    if metrics["audit"] is None or metrics["audit"]["with_training"]:
        return ""
    return (
        "Not all clips that the model was trained on are at hand, so nobody can see whether some "
        "of these are among them."
    )


def not_better(metrics: Metrics) -> str:
    """No better than a simple method."""
    simple = metrics["baselines"]
    name = max(simple, key=lambda key: simple[key]["accuracy"], default=None)
    if name is None or metrics["accuracy"] > simple[name]["accuracy"]:
        return ""
    return (
        f"A baseline is as good or better: {BASELINES[name]}, {percent(simple[name]['accuracy'])}."
    )


def one_group(metrics: Metrics) -> str:
    """All clips of one source."""
    if metrics["n_groups"] > 1:
        return ""
    return (
        "All clips are of one group: nothing is known about other sources (cameras, days, people)."
    )


def few_groups(metrics: Metrics) -> str:
    """Several sources, but few."""
    if not 1 < metrics["n_groups"] < FEW_GROUPS or not metrics["groups_known"]:
        return ""
    intervals = "intervals are wide" if metrics["accuracy_interval"] else "there are no intervals"
    return (
        f"The clips are of only {metrics['n_groups']} groups: how well it does on others rests on "
        f"these few, so {intervals}."
    )


def own_groups(metrics: Metrics) -> str:
    """No groups known."""
    if metrics["groups_known"] or metrics["n_groups"] == 1:
        return ""
    return (
        "Every clip is its own group: if several come from one recording, day or camera, the score "
        "is too high. Give a group column to be sure."
    )


def some_own_groups(metrics: Metrics) -> str:
    """Clips of no group among others that have one."""
    n = metrics["n_without_group"]
    if not n or not metrics["groups_known"]:
        return ""
    return (
        f"{n} of the {counted(metrics['n'], 'clip')} {'has' if n == 1 else 'have'} no group and "
        f"{'counts' if n == 1 else 'count'} as one each: if some are of one source, "
        + ("intervals are too narrow." if metrics["accuracy_interval"] else "it is fewer groups.")
    )


def few_clips(metrics: Metrics) -> str:
    """So few that single clips matter."""
    n = metrics["n"]
    if n >= _FEW_CLIPS:
        return ""
    return (
        f"Only {counted(n, 'clip')}: one more or less right moves the accuracy by "
        f"{100 / n:.1f} points."
    )


def one_large_group(metrics: Metrics) -> str:
    """More than half of all from one of several sources."""
    largest = metrics["largest_group"]
    if largest is None or metrics["n_groups"] == 1 or largest["n"] <= _LARGE * metrics["n"]:
        return ""
    return (
        f"{percent(largest['n'] / metrics['n'])} of the clips are of one group, "
        f"{quoted(largest['name'])}: the score is mostly about that one."
    )


def uneven_groups(metrics: Metrics) -> str:
    """A few large ones among many, and few of them decide: intervals may be too narrow."""
    n, even = metrics["n_groups"], metrics["even_groups"]
    if n < FEW_GROUPS or n < UNEVEN * even or metrics["even_groups_deciding"] >= FEW_DECIDE:
        return ""
    mistakes = "the clips classified correctly" if metrics["accuracy"] < 0.5 else "mistakes"
    return (
        f"A few large groups hold much of the clips ({n} groups weigh like {even:.0f} of one size) "
        f"and {mistakes} are of few groups: the intervals may be too narrow."
    )


def absent(metrics: Metrics) -> str:
    """Labels without clips."""
    labels = [label for label, values in metrics["per_class"].items() if not values["support"]]
    if not labels:
        return ""
    it = "it" if len(labels) == 1 else "they"
    return f"No clip here has the {_named(labels)}: how often {it} would be found is not known."


def rare(metrics: Metrics) -> str:
    """Labels of few clips."""
    labels = [
        label
        for label, values in metrics["per_class"].items()
        if 0 < values["support"] < _FEW_OF_A_LABEL
    ]
    if not labels:
        return ""
    each, its = ("", "its") if len(labels) == 1 else (" each", "their")
    return (
        f"Fewer than {_FEW_OF_A_LABEL} clips{each} have the {_named(labels)}: {its} scores say "
        "little."
    )


def _named(labels: Sequence[str]) -> str:
    return f"label{'s' if len(labels) > 1 else ''} {joined([*map(quoted, labels)])}"


def presence(metrics: Metrics) -> str:
    """Having picture or sound at all tells the label."""
    simple = metrics["baselines"]
    if "presence" not in simple or "majority" not in simple:
        return ""
    gain = simple["presence"]["accuracy"] - simple["majority"]["accuracy"]
    if gain <= _TELLING:
        return ""
    return (
        "Whether a clip has picture and sound at all tells its label more often than guessing does "
        f"({in_points(gain)}): the labels were recorded differently, and the model may have "
        "learned that."
    )


def overconfident(metrics: Metrics) -> str:
    """Probabilities that do not hold."""
    found = metrics["calibration"]
    if found is None or found["p_value"] is None or found["p_value"] >= DISHONEST:
        return ""
    how = "high" if found["mean_probability"] > found["accuracy"] else "low"
    surest = found["bins"][-1]
    if found["accuracy"] == 1:
        return ""  # nothing to warn of
    if how == "low" and surest["mean_probability"] > surest["accuracy"] + MUCH:
        return (
            "Probabilities are not well calibrated: too high where they are highest (on average "
            f"{percent(surest['mean_probability'])}, {percent(surest['accuracy'])} correct), "
            "elsewhere too low."
        )
    return (
        f"Probabilities are not well calibrated: too {how} (on average "
        f"{percent(found['mean_probability'])}, {percent(found['accuracy'])} correct)."
    )


def failed(metrics: Metrics) -> str:
    """Files without a prediction."""
    statuses = {
        status: n
        for status, n in metrics["data"]["statuses"].items()
        if status not in ("ok", "partial")
    }
    if not statuses:
        return ""
    parts = joined([f"{n} {status}" for status, n in sorted(statuses.items())])
    return f"{counted(sum(statuses.values()), 'labelled clip')} could not be judged: {parts}."
