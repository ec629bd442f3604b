"""Section: the result in sentences, with warnings.

Each sentence is a rule: a function of the metrics that returns "" if it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.classification import most_confused
from pipeline.report.page import Page
from pipeline.report.warnings import warnings
from pipeline.text_format import (
    BASELINES,
    NOTABLE_GAP,
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
    """All sentences that apply. what: the evaluated clips in words, as in "the test split"."""
    rules: list[Callable[[Metrics], str]] = [
        # the most important first
        weaker_part, guessing, simple_methods, modalities, weakest, confused, confidence, threshold,
    ]  # fmt: skip
    return [accuracy_sentence(metrics, what), *filter(None, (rule(metrics) for rule in rules))]


def accuracy_sentence(metrics: Metrics, what: str) -> str:
    """Accuracy with its interval, number of clips and groups, and macro-F1; always given."""
    groups = f" from {counted(metrics['n_groups'], 'group')}" if metrics["groups_known"] else ""
    over = ", over groups" if metrics["groups_known"] and metrics["accuracy_interval"] else ""
    return (
        f"Accuracy is {percent(metrics['accuracy'])} ({span(metrics['accuracy_interval'])}{over}) "
        f"on {counted(metrics['n'], 'clip')}{groups} of {what}. "
        f"Macro-F1, {_macro_f1_meaning(metrics)}, is {metrics['macro_f1']:.2f}."
    )


def _macro_f1_meaning(metrics: Metrics) -> str:
    """Which labels macro-F1 averages over: those that occur or are predicted."""
    n = len(metrics["per_class"])
    n_present = sum(bool(s["support"] or s["predicted"]) for s in metrics["per_class"].values())
    if n_present == n:
        return f"the mean F1 score of the {n} labels"
    if n_present == 1:
        return f"the F1 score of the only one of {n} labels that occurs or is predicted"
    return f"the mean F1 score of the {n_present} of {n} labels that occur or are predicted"


def guessing(metrics: Metrics) -> str:
    """Accuracy of always predicting the majority label, or "" if that label is not known."""
    majority = metrics["baselines"].get("majority")
    # in cross-validation each fold can have another majority label
    if majority is None or "always" not in majority:
        return ""
    return f"Always predicting {quoted(majority['always'])} gives {percent(majority['accuracy'])}."


def simple_methods(metrics: Metrics) -> str:
    """The best baseline, and whether the model beats it by more than chance."""
    baselines = metrics["baselines"]
    if not baselines.keys() - {"majority"}:
        return ""
    # at equal accuracy a baseline that uses the clips is named
    name = max(baselines, key=lambda key: (baselines[key]["accuracy"], key != "majority"))
    best = baselines[name]
    difference = best["difference"]
    gain, low, high = difference["mean"], difference["low"], difference["high"]
    begins = f"The best baseline, {BASELINES[name]}, reaches {percent(best['accuracy'])}"
    if gain == 0:
        return f"{begins}, the same as the model."
    if gain < 0 and high is None:
        return (
            f"{begins}; the model is {size_in_points(-gain)} below it, with too few groups to tell "
            "whether that is chance."
        )
    if gain < 0:
        chance = (
            ", which may be chance" if high >= 0 else "; on these clips training was not worthwhile"
        )
        return (
            f"{begins}; the model is {size_in_points(-gain)} below it ({gain_span(difference)})"
            f"{chance}."
        )
    above = f"{begins}; the model is {size_in_points(gain)} above it"
    if low is None:
        return f"{above}, with too few groups to tell whether that is chance."
    chance = ", which may be chance" if low <= 0 else ""
    return f"{above}{chance} ({gain_span(difference)})."


def modalities(metrics: Metrics) -> str:
    """By how much sound and picture each improve accuracy, on clips that have both."""
    masked = metrics["modality_ablation"]["masked"]
    if masked is None:
        return ""
    parts = [_adds(name, masked[f"{name}_adds"]) for name in ("sound", "picture")]
    return f"On the {counted(masked['n'], 'clip')} with picture and sound, {parts[0]}; {parts[1]}."


def _adds(modality: str, difference: dict[str, Any]) -> str:
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    if low is not None and low <= 0 <= high:  # the interval contains 0
        return f"{modality} makes no clear difference ({in_points(mean)})"
    caveat = "" if low is not None else ", with too few groups to tell whether that is chance"
    if mean < 0:
        return f"{modality} lowers accuracy by {size_in_points(mean)}{caveat}"
    return f"{modality} adds {size_in_points(mean)}{caveat}"


def weakest(metrics: Metrics) -> str:
    """The label with the lowest recall, or that every recall is 100 %."""
    label, scores = _weakest(metrics)
    if scores["recall"] == 1.0:
        absent = any(not scores["support"] for scores in metrics["per_class"].values())
        return f"Recall is 100 % for every label{' that occurs here' if absent else ''}."
    row = metrics["confusion"]["labels"].index(label)
    counts = list(metrics["confusion"]["counts"][row])
    counts[row] = 0  # correct answers are not confusions
    other = metrics["confusion"]["labels"][counts.index(max(counts))]
    return (
        f"Recall is lowest for {quoted(label)}: {percent(scores['recall'])} of "
        f"{counted(scores['support'], 'clip')}, most often confused with {quoted(other)}."
    )


def _weakest(metrics: Metrics) -> tuple[str, dict[str, Any]]:
    """The label with the lowest recall among those that have clips, and its scores."""
    # recall is undefined without clips
    known = {label: scores for label, scores in metrics["per_class"].items() if scores["support"]}
    # at equal recall the first by name, so that the sentence is stable
    return min(known.items(), key=lambda item: (item[1]["recall"], item[0]))


def confused(metrics: Metrics) -> str:
    """The most frequent confusion of any label but the weakest, which has a sentence of its own."""
    labels, counts = metrics["confusion"]["labels"], metrics["confusion"]["counts"]
    worst, _ = _weakest(metrics)
    # all pairs, since the weakest label may fill any top list
    pairs = [p for p in most_confused(counts, most=None) if labels[p[0]] != worst]
    if not pairs:
        return ""
    row, column, n = pairs[0]
    return (
        f"{quoted(labels[row])} is also confused with {quoted(labels[column])} "
        f"({n} of {counted(sum(counts[row]), 'clip')})."
    )


def confidence(metrics: Metrics) -> str:
    """Accuracy of the clips with a high probability, compared with that probability."""
    confident = metrics["sure"]
    if confident is None:
        return ""
    text = (
        f"Of the {counted(confident['n'], 'clip')} with a probability of at least "
        f"{percent(confident['min_probability'])}, {percent(confident['accuracy'])} "
        f"{'is' if confident['n'] == 1 else 'are'} correct"
    )
    mean_probability = confident["mean_probability"]
    if confident["accuracy"] < mean_probability - NOTABLE_GAP:
        return f"{text}, less than their mean probability of {percent(mean_probability)}."
    return f"{text}."


def threshold(metrics: Metrics) -> str:
    """The classify.min_probability for the highest accuracy that still labels enough clips."""
    if not metrics["thresholds"]:
        return ""
    # a threshold that leaves almost nothing labelled is no help
    usable = [t for t in metrics["thresholds"] if t["coverage"] >= 0.2]
    if not usable:
        return ""
    best = usable[-1]  # sorted by the accuracy they are for
    return (
        f"For an accuracy of about {percent(best['wanted_accuracy'])}, set "
        f"classify.min_probability={best['min_probability']:.3f}: {percent(best['coverage'])} of "
        "clips then get a label, the others are marked unsure. This rests on "
        f"{counted(best['n'], 'clip')} of this evaluation ({span(best['interval'])})."
    )


def weaker_part(metrics: Metrics) -> str:
    """The subgroup with the lowest accuracy among those that are significantly weaker."""
    found = []
    for name, subgroups in metrics["slices"].items():
        if name in ("group", "fold"):
            continue
        for part in subgroups:
            if part["surely_weaker"]:
                found.append((part["accuracy"], name, part))
    if not found:
        return ""
    # the part itself cannot be compared
    _, name, part = min(found, key=lambda item: (item[0], item[1]))
    # slice names are columns of the user, except these two
    clips = {"has": "with", "length": "of length"}.get(name, f"of {name}")
    value = part["value"] if name in ("has", "length") else quoted(part["value"])
    rest = ""
    n_others = metrics["n"] - part["n"]
    if n_others:
        # correct clips outside the subgroup
        right = metrics["accuracy"] * metrics["n"] - part["accuracy"] * part["n"]
        rest = f", against {percent(right / n_others)} of the {counted(n_others, 'other clip')}"
    return (
        f"Accuracy is significantly lower on clips {clips} {value}: {percent(part['accuracy'])} of "
        f"{counted(part['n'], 'clip')} ({span(part['interval'])}){rest}."
    )


NAV = None  # at the top of the page


def context(page: Page) -> dict[str, Any]:
    evaluation = page.evaluation
    return {
        "headline": headline(evaluation.metrics, evaluation.what),
        "warnings": warnings(evaluation.metrics, evaluation.notes),
    }


def console(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[str]]:
    """(columns, rows, sentences below the table), for a terminal."""
    metrics = evaluation.metrics
    rows = [["the model", f"{metrics['accuracy']:.1%}", f"{metrics['macro_f1']:.3f}"]]
    rows += [
        [name.replace("_", " "), f"{result['accuracy']:.1%}", f"{result['macro_f1']:.3f}"]
        for name, result in metrics["baselines"].items()
    ]
    # warnings first, since they limit what the result is worth
    sentences = [*warnings(metrics, evaluation.notes), *headline(metrics, evaluation.what)]
    return ["", "accuracy", "macro-F1"], rows, sentences
