"""The answer in words. Each sentence is a rule: it is made of the metrics, or it is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.metrics.classification import most_confused
from pipeline.text_format import (
    BASELINES,
    MUCH,
    counted,
    gain_span,
    in_points,
    percent,
    quoted,
    size_in_points,
    span,
)

Metrics = dict[str, Any]


def headline(metrics: Metrics, what: str) -> list[str]:
    """What was found, the most important first."""
    rules: list[Callable[[Metrics], str]] = [
        weaker_part, guessing, simple_methods, modalities, weakest, confused, confidence, threshold,
    ]  # fmt: skip
    return [accuracy_sentence(metrics, what), *filter(None, (rule(metrics) for rule in rules))]


def accuracy_sentence(metrics: Metrics, what: str) -> str:
    """How often it is right; always said."""
    groups = f" from {counted(metrics['n_groups'], 'group')}" if metrics["groups_known"] else ""
    over = ", over groups" if metrics["groups_known"] and metrics["accuracy_interval"] else ""
    return (
        f"On {counted(metrics['n'], 'clip')}{groups} of {what} the model classifies "
        f"{percent(metrics['accuracy'])} correctly ({span(metrics['accuracy_interval'])}{over}). "
        f"{_occurring(metrics)} (macro-F1) is {metrics['macro_f1']:.2f}."
    )


def _occurring(metrics: Metrics) -> str:
    """What macro-F1 is the mean of."""
    n = len(metrics["per_class"])
    there = sum(bool(s["support"] or s["predicted"]) for s in metrics["per_class"].values())
    if there == n:
        return f"There are {n} labels; the mean of their F1 scores"
    if there == 1:
        return f"Of {n} labels 1 occurs here or is named; its F1 score"
    return f"Of {n} labels {there} occur here or are named; the mean of these ones' F1 scores"


def guessing(metrics: Metrics) -> str:
    """What always naming one label gives, where that is known."""
    majority = metrics["baselines"].get("majority")
    if majority is None or "always" not in majority:
        return ""
    return f"Always guessing {quoted(majority['always'])} gives {percent(majority['accuracy'])}."


def simple_methods(metrics: Metrics) -> str:
    """The best simple method, and whether the model beats it by more than chance."""
    simple = metrics["baselines"]
    if not simple.keys() - {"majority"}:
        return ""
    name = max(simple, key=lambda key: (simple[key]["accuracy"], key != "majority"))
    best = simple[name]
    difference = best["difference"]
    gain, low, high = difference["mean"], difference["low"], difference["high"]
    begins = f"The best baseline, {BASELINES[name]}, reaches {percent(best['accuracy'])}"
    if gain == 0:
        return f"{begins}, the same as the model."
    if gain < 0 and high is None:
        return (
            f"{begins}: the model is {size_in_points(-gain)} below it, on clips from too few "
            "groups to say more."
        )
    if gain < 0:
        chance = (
            ", which may be chance" if high >= 0 else "; on these clips training was not worth it"
        )
        return (
            f"{begins}: the model is {size_in_points(-gain)} below it ({gain_span(difference)})"
            f"{chance}."
        )
    above = f"{begins}; the model is {size_in_points(gain)} above it"
    if low is None:
        return f"{above}, from too few groups to say whether that is chance."
    chance = ", which may be chance" if low <= 0 else ""
    return f"{above}{chance} ({gain_span(difference)})."


def modalities(metrics: Metrics) -> str:
    """What sound and picture add on clips that have both."""
    masked = metrics["modality_ablation"]["masked"]
    if masked is None:
        return ""
    parts = [_adds(name, masked[f"{name}_adds"]) for name in ("sound", "picture")]
    return f"On the {counted(masked['n'], 'clip')} with picture and sound, {parts[0]}; {parts[1]}."


def _adds(modality: str, difference: dict[str, Any]) -> str:
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    if low is not None and low <= 0 <= high:
        return f"{modality} makes no clear difference ({in_points(mean)})"
    sure = "" if low is not None else ", from too few groups to say whether that is chance"
    if mean < 0:
        return f"{modality} harms ({in_points(mean)}{sure})"
    return f"{modality} adds {size_in_points(mean)}{sure}"


def weakest(metrics: Metrics) -> str:
    """The label found least often; nothing where all are always found."""
    label, scores = _weakest(metrics)
    if scores["recall"] == 1.0:
        absent = any(not scores["support"] for scores in metrics["per_class"].values())
        return f"Every label's clips{' that are here' if absent else ''} were all found."
    row = metrics["confusion"]["labels"].index(label)
    counts = list(metrics["confusion"]["counts"][row])
    counts[row] = 0
    other = metrics["confusion"]["labels"][counts.index(max(counts))]
    return (
        f"It is weakest on {quoted(label)}: {percent(scores['recall'])} of "
        f"{counted(scores['support'], 'clip')} found, most often confused with {quoted(other)}."
    )


def _weakest(metrics: Metrics) -> tuple[str, dict[str, Any]]:
    """The label found least often, of those that have clips, and its scores."""
    known = {label: scores for label, scores in metrics["per_class"].items() if scores["support"]}
    return min(known.items(), key=lambda item: (item[1]["recall"], item[0]))


def confused(metrics: Metrics) -> str:
    """The most frequent confusion of another label than the weakest one's."""
    labels, counts = metrics["confusion"]["labels"], metrics["confusion"]["counts"]
    worst, _ = _weakest(metrics)
    pairs = [p for p in most_confused(counts, most=None) if labels[p[0]] != worst]
    if not pairs:
        return ""
    row, column, n = pairs[0]
    return (
        f"It also confuses {quoted(labels[row])} with {quoted(labels[column])} "
        f"({n} of {counted(sum(counts[row]), 'clip')})."
    )


def confidence(metrics: Metrics) -> str:
    """How often it is right where it is very sure."""
    sure = metrics["sure"]
    if sure is None:
        return ""
    says = (
        f"Of the {counted(sure['n'], 'clip')} with a probability of at least "
        f"{percent(sure['min_probability'])}, {percent(sure['accuracy'])} "
        f"{'is' if sure['n'] == 1 else 'are'} correct"
    )
    promised = sure["mean_probability"]
    if sure["accuracy"] < promised - MUCH:
        return f"{says}, less than their mean probability of {percent(promised)}."
    return f"{says}."


def threshold(metrics: Metrics) -> str:
    """Which setting gives a high accuracy, if that leaves clips with a label."""
    if not metrics["thresholds"]:
        return ""
    wanted = [t for t in metrics["thresholds"] if t["coverage"] >= 0.2]
    if not wanted:
        return ""
    best = wanted[-1]
    return (
        f"To be right in about {percent(best['wanted_accuracy'])}, set "
        f"classify.min_probability={best['min_probability']:.3f}: {percent(best['coverage'])} of "
        "clips then get a label, the others say unsure. That rests on "
        f"{counted(best['n'], 'clip')} of these ({span(best['interval'])})."
    )


def weaker_part(metrics: Metrics) -> str:
    """A part of the clips on which it is surely weaker than on all."""
    found = []
    for name, parts in metrics["slices"].items():
        if name in ("group", "fold"):
            continue
        for part in parts:
            if part["surely_weaker"]:
                found.append((part["accuracy"], name, part))
    if not found:
        return ""
    _, name, part = min(found, key=lambda item: (item[0], item[1]))
    clips = {"has": "with", "length": "of length"}.get(name, f"of {name}")
    value = part["value"] if name in ("has", "length") else quoted(part["value"])
    others = ""
    n_others = metrics["n"] - part["n"]
    if n_others:
        right = metrics["accuracy"] * metrics["n"] - part["accuracy"] * part["n"]
        others = f"; {percent(right / n_others)} of the {counted(n_others, 'other clip')}"
    return (
        f"It is much weaker on clips {clips} {value}: {percent(part['accuracy'])} of "
        f"{counted(part['n'], 'clip')} are correct ({span(part['interval'])}){others}."
    )
