"""Each sentence of the answer: said where it is true, and not where it is false."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.report.sections.answer import (
    accuracy_sentence,
    confidence,
    confused,
    guessing,
    headline,
    modalities,
    simple_methods,
    threshold,
    weaker_part,
    weakest,
)
from tests.helpers.metrics_samples import clips, metrics_of

USUAL = metrics_of(clips())


@pytest.fixture
def metrics() -> dict[str, Any]:
    return copy.deepcopy(USUAL)


def test_the_answer_comes_first_with_its_interval(metrics) -> None:
    low, high = metrics["accuracy_interval"]
    text = headline(metrics, "the test split")[0]
    assert text.startswith(f"Accuracy is {metrics['accuracy'] * 100:.0f} % (")
    assert f"(95 % interval {low * 100:.0f}–{high * 100:.0f} %, over groups) on" in text
    assert "on 240 clips from 40 groups of the test split." in text


def test_the_answer_claims_no_interval_and_no_groups_that_are_not_there(metrics) -> None:
    metrics |= {"accuracy_interval": None, "groups_known": False}
    text = accuracy_sentence(metrics, "the test split")
    assert "too few groups for an interval" in text
    assert "from" not in text
    assert "over groups" not in text


def test_the_answer_says_what_macro_f1_is_the_mean_of(metrics) -> None:
    assert "Macro-F1, the mean F1 score of the 3 labels, is" in accuracy_sentence(metrics, "x")
    metrics["per_class"]["owl"] |= {"support": 0, "predicted": 0}
    assert "the mean F1 score of the 2 of 3 labels that occur or are predicted" in (
        accuracy_sentence(metrics, "x")
    )
    metrics["per_class"]["dog"] |= {"support": 0, "predicted": 0}
    assert "the F1 score of the only one of 3 labels that occurs or is predicted" in (
        accuracy_sentence(metrics, "x")
    )


def test_guessing_names_the_label_it_would_guess(metrics) -> None:
    assert guessing(metrics) == "Always predicting “cat” gives 33 %."
    del metrics["baselines"]["majority"]["always"]  # another one in each fold
    assert guessing(metrics) == ""
    assert guessing(metrics | {"baselines": {}}) == ""


@pytest.mark.parametrize(
    ("mean", "low", "says", "says_not"),
    [
        (0.2, 0.1, "20 points above it (95 % interval +10", "chance"),
        (0.2, -0.1, "which may be chance", "worthwhile"),
        (0.0, -0.1, "reaches 50 %, the same as the model.", "chance"),
        (
            -0.1,
            -0.15,
            "10 points below it (95 % interval −15 to −5); on these clips training",
            "may",
        ),
        (
            -0.1,
            -0.3,
            "10 points below it (95 % interval −30 to +10), which may be chance.",
            "worthwhile",
        ),
        (-0.1, None, "10 points below it, with too few groups to tell whether", "worthwhile"),
        (0.2, None, "20 points above it, with too few groups to tell", "interval"),
    ],
)
def test_the_verdict_on_simple_methods(metrics, mean, low, says: str, says_not: str) -> None:
    high = None if low is None else mean + (mean - low)
    best = metrics["baselines"]["logistic_mean"]
    best["difference"] = {"mean": mean, "low": low, "high": high, "n_groups": 40}
    text = simple_methods(metrics)
    assert "logistic regression on averages over time, reaches 50 %" in text
    assert says in text
    assert says_not not in text


def test_without_simple_methods_nothing_is_said_of_them(metrics) -> None:
    metrics["baselines"]["presence"]["accuracy"] = 0.7
    assert "only whether there is picture and sound, reaches 70 %" in simple_methods(metrics)
    metrics["baselines"]["majority"]["accuracy"] = 0.79
    assert "always the most frequent label, reaches 79 %" in simple_methods(metrics)
    metrics["baselines"]["presence"]["accuracy"] = 0.79
    assert "only whether there is picture and sound, reaches 79 %" in simple_methods(metrics)
    for name in ("logistic_mean", "presence"):
        del metrics["baselines"][name]
    assert simple_methods(metrics) == ""


def _masked(sound: tuple[float, float | None, float | None]) -> dict[str, Any]:
    part = {"accuracy": 0.7, "interval": [0.6, 0.8]}
    mean, low, high = sound
    return {
        "n": 100, "n_groups": 30, "both": part, "picture": part, "sound": part,
        "picture_adds": {"mean": 0.3, "low": 0.2, "high": 0.4, "n_groups": 30},
        "sound_adds": {"mean": mean, "low": low, "high": high, "n_groups": 30},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        ((0.06, 0.01, 0.11), "sound adds 6 points; picture adds 30 points"),
        ((0.02, -0.03, 0.07), "sound makes no clear difference (+2 points)"),
        ((-0.06, -0.11, -0.01), "sound lowers accuracy by 6 points; "),
        ((0.06, None, None), "sound adds 6 points, with too few groups to tell"),
        ((-0.06, None, None), "sound lowers accuracy by 6 points, with too few groups to tell"),
    ],
)
def test_what_each_modality_adds(metrics, sound, says: str) -> None:
    metrics["modality_ablation"]["masked"] = _masked(sound)
    text = modalities(metrics)
    assert says in text
    assert "On the 100 clips with picture and sound" in text


def test_nothing_is_said_of_modalities_that_were_not_masked(metrics) -> None:
    assert modalities(metrics) == ""


def _confusion(metrics, counts: list[list[int]]) -> None:
    metrics["confusion"]["counts"] = counts
    for k, label in enumerate(metrics["confusion"]["labels"]):
        support = sum(counts[k])
        recall = counts[k][k] / support if support else 0.0
        metrics["per_class"][label] |= {"support": support, "recall": recall}


def test_the_weakest_label_and_what_it_is_taken_for(metrics) -> None:
    _confusion(metrics, [[9, 1, 0], [1, 4, 5], [0, 2, 8]])
    assert weakest(metrics) == (
        "Recall is lowest for “dog”: 40 % of 10 clips, most often confused with “owl”."
    )
    _confusion(metrics, [[9, 0, 0], [0, 4, 0], [0, 0, 8]])
    assert weakest(metrics) == "Recall is 100 % for every label."


def test_a_label_without_clips_is_not_the_weakest(metrics) -> None:
    _confusion(metrics, [[9, 1, 0], [0, 0, 0], [0, 0, 8]])
    assert "“cat”" in weakest(metrics)
    _confusion(metrics, [[9, 0, 0], [0, 0, 0], [0, 0, 8]])
    assert weakest(metrics) == "Recall is 100 % for every label that occurs here."


def test_another_frequent_confusion_is_named(metrics) -> None:
    _confusion(metrics, [[9, 3, 0], [1, 4, 5], [0, 2, 8]])
    assert confused(metrics) == "“cat” is also confused with “dog” (3 of 12 clips)."
    _confusion(metrics, [[9, 1, 0], [1, 4, 5], [0, 1, 8]])
    assert confused(metrics) == ""  # once is no habit


@pytest.mark.parametrize(
    ("accuracy", "says", "says_not"),
    [
        (0.8, "less than their mean probability of 96", "x"),
        (0.94, "94 % are correct.", "less than"),
    ],
)
def test_how_right_it_is_where_it_is_sure(metrics, accuracy, says, says_not) -> None:
    metrics["sure"] = {
        "min_probability": 0.9, "n": 50, "mean_probability": 0.96, "accuracy": accuracy,
    }  # fmt: skip
    text = confidence(metrics)
    assert "Of the 50 clips with a probability of at least 90 %" in text
    assert says in text
    assert says_not not in text
    assert confidence(metrics | {"sure": None}) == ""


def _threshold(wanted: float, coverage: float) -> dict[str, Any]:
    return {
        "wanted_accuracy": wanted, "min_probability": 0.71, "coverage": coverage,
        "accuracy": wanted, "interval": None, "n": 50,
    }  # fmt: skip


def test_the_highest_accuracy_that_leaves_clips_is_offered(metrics) -> None:
    metrics["thresholds"] = [_threshold(0.9, 0.8), _threshold(0.95, 0.6), _threshold(0.99, 0.05)]
    text = threshold(metrics)
    assert "accuracy of about 95 %, set classify.min_probability=0.710: 60 % of clips" in text
    metrics["thresholds"] = [_threshold(0.99, 0.05)]
    assert threshold(metrics) == ""
    assert threshold(metrics | {"thresholds": []}) == ""


def _part(surely: bool) -> dict[str, Any]:
    return {
        "value": "rain", "n": 60, "n_groups": 20, "accuracy": 0.5, "interval": [0.4, 0.6],
        "surely_weaker": surely,
    }  # fmt: skip


def test_a_part_is_called_weaker_only_where_that_is_sure(metrics) -> None:
    metrics["slices"] = {"weather": [_part(True)]}
    assert "lower on clips of weather “rain”: 50 % of 60 clips" in weaker_part(metrics)
    metrics["slices"] = {"weather": [_part(False)], "group": [_part(True)]}
    assert weaker_part(metrics) == ""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("has", "picture only", "clips with picture only:"),
        ("length", "5 to 30 s", "of length 5 to"),
    ],
)
def test_a_weaker_part_is_named_as_one_would(metrics, name: str, value: str, says: str) -> None:
    metrics["slices"] = {name: [_part(True) | {"value": value}]}
    assert says in weaker_part(metrics)


def test_the_worst_label_does_not_hide_the_confusions_of_others(metrics) -> None:
    """However many of its own are more frequent."""
    labels = [f"l{k}" for k in range(9)]
    counts = [[20 if i == j else 0 for j in range(9)] for i in range(9)]
    counts[0] = [1, *[30] * 7, 30]
    counts[3][4] = 2
    metrics["per_class"] = {
        label: metrics["per_class"]["cat"] | {"support": sum(row), "recall": row[k] / sum(row)}
        for k, (label, row) in enumerate(zip(labels, counts, strict=True))
    }
    metrics["confusion"] = {"labels": labels, "counts": counts}
    assert confused(metrics) == "“l3” is also confused with “l4” (2 of 22 clips)."
