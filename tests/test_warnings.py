"""Each warning: given where it applies, and not where it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.report import warnings as rules
from pipeline.report.warnings import warnings
from tests.helpers.metrics_samples import clips, metrics_of

USUAL = metrics_of(clips(sure=(0.55, 0.7)))
Metrics = dict[str, Any]


def _found(name: str) -> Callable[[Metrics], None]:
    def change(metrics: Metrics) -> None:
        example = {"kind": "same_sound", "first": "a.mp4", "second": "b.mp4"}
        metrics["audit"][name] = {"n": 3, "example": example}

    return change


def _set(**values: Any) -> Callable[[Metrics], None]:
    return lambda metrics: metrics.update(values)


def _no_owls(metrics: Metrics) -> None:
    metrics["per_class"]["owl"]["support"] = 0


def _few_owls(metrics: Metrics) -> None:
    metrics["per_class"]["owl"]["support"] = 7


def _telling(metrics: Metrics) -> None:
    metrics["baselines"]["presence"] = {"accuracy": 0.7}


def _oversure(metrics: Metrics) -> None:
    metrics["calibration"] |= {"p_value": 0.01, "mean_probability": 0.95, "accuracy": 0.8}


def _undersure(metrics: Metrics) -> None:
    metrics["calibration"] |= {"p_value": 0.01, "mean_probability": 0.6, "accuracy": 0.8}
    metrics["calibration"]["bins"][-1] |= {"mean_probability": 0.7, "accuracy": 0.9}


def _sure_and_wrong(metrics: Metrics) -> None:
    _undersure(metrics)
    metrics["calibration"]["bins"][-1] |= {"mean_probability": 0.99, "accuracy": 0.6}


def _failed(metrics: Metrics) -> None:
    metrics["data"]["statuses"] = {"ok": 240, "crashed": 1, "unreadable": 2}


def _one_large(metrics: Metrics) -> None:
    metrics["largest_group"] = {"name": "g1", "n": 150}


def _trained_on(metrics: Metrics) -> None:
    metrics["audit"]["trained_on"] = 5


def _leaking(metrics: Metrics) -> None:
    example = {"kind": "same_sound", "first": "a.mp4", "second": "b.mp4"}
    metrics["audit"]["judged"] = {"n": 240, "n_leaking": 3, "example": example}


def _training_unknown(metrics: Metrics) -> None:
    metrics["audit"]["with_training"] = False


def _untested(metrics: Metrics) -> None:
    metrics["calibration"]["p_value"] = None


def _few_of_all(metrics: Metrics) -> None:
    for values in metrics["per_class"].values():
        values["support"] = 7


def _only_cats(metrics: Metrics) -> None:
    for label in ("dog", "owl"):
        metrics["per_class"][label]["support"] = 0


def _uneven(metrics: Metrics) -> None:
    metrics.update(n_groups=40, even_groups=13.2, even_groups_deciding=11.9)


CASES = [
    (
        rules.leaking,
        _leaking,
        "3 of the 240 evaluated clips come from the same recording as training",
    ),
    (rules.contradicting, _found("conflicts"), "have different labels (for example a.mp4"),
    (rules.not_better, _set(accuracy=0.2), "as good or better: logistic regression on averages"),
    (rules.trained_on, _trained_on, "The model was trained on 5 of the 240 clips"),
    (rules.training_unknown, _training_unknown, "Not all clips that the model was trained on"),
    (rules.one_group, _set(n_groups=1), "All clips are from one group"),
    (rules.few_groups, _set(n_groups=19), "from these few, so intervals are wide."),
    (
        rules.few_groups,
        _set(n_groups=2, accuracy_interval=None),
        "from only 2 groups: accuracy on new groups is estimated from these few, so there are no",
    ),
    (rules.own_groups, _set(groups_known=False), "Every clip is its own group"),
    (rules.some_own_groups, _set(n_without_group=3), "3 of the 240 clips have no group and count"),
    (rules.some_own_groups, _set(n_without_group=1), "1 of the 240 clips has no group and counts"),
    (
        rules.few_clips,
        _set(n=99),
        "Only 99 clips: a single clip changes the accuracy by 1.0",
    ),
    (rules.one_large_group, _one_large, "62 % of the clips are from one group, “g1”"),
    (
        rules.uneven_groups,
        _uneven,
        "40 groups count like 13 of equal size) and mistakes are concentrated",
    ),
    (rules.absent, _no_owls, "has the label “owl”: its recall is unknown."),
    (rules.absent, _only_cats, "labels “dog” and “owl”: their recall is unknown."),
    (rules.rare, _few_owls, "Fewer than 10 clips have the label “owl”: its scores are unreliable."),
    (rules.rare, _few_of_all, "10 clips each have the labels “cat”, “dog” and “owl”: their scores"),
    (rules.presence, _telling, "(+37 points): the labels were recorded differently"),
    (rules.overconfident, _oversure, "calibrated: too high (mean 95 %, accuracy 80 %)"),
    (rules.overconfident, _undersure, "calibrated: too low"),
    (
        rules.overconfident,
        _sure_and_wrong,
        "the highest are too high (mean 99 %, accuracy 60 %",
    ),
    (rules.failed, _failed, "3 labelled clips could not be classified: 1 crashed and 2 unreadable"),
]


@pytest.mark.parametrize(("rule", "change", "says"), CASES)
def test_it_is_given_where_it_applies_and_nowhere_else(rule, change, says: str) -> None:
    assert rule(copy.deepcopy(USUAL)) == ""
    metrics = copy.deepcopy(USUAL)
    change(metrics)
    assert says in rule(metrics)
    assert rule(metrics) in warnings(metrics)


def test_probabilities_that_could_not_be_tested_are_not_warned_of() -> None:
    metrics = copy.deepcopy(USUAL)
    _oversure(metrics)
    _untested(metrics)
    assert rules.overconfident(metrics) == ""


def test_a_good_evaluation_has_none() -> None:
    assert warnings(USUAL) == []
    assert warnings(USUAL, ["No baselines: x."]) == ["No baselines: x."]


def test_what_was_left_out_is_not_warned_of() -> None:
    bare = copy.deepcopy(USUAL) | {"audit": None, "baselines": {}, "calibration": None}
    assert warnings(bare) == []


def test_one_group_is_not_also_few() -> None:
    metrics = copy.deepcopy(USUAL) | {"n_groups": 1, "groups_known": False}
    assert rules.few_groups(metrics) == rules.own_groups(metrics) == ""
    metrics |= {"n_groups": 30, "n_without_group": 30}
    assert rules.some_own_groups(metrics) == ""  # none has one, which is said already
    metrics |= {"groups_known": True, "n_without_group": 3, "accuracy_interval": None}
    assert rules.some_own_groups(metrics).endswith("there are fewer groups than stated.")


@pytest.mark.parametrize(
    "change", [{"n_groups": 19}, {"even_groups": 16.1}, {"even_groups_deciding": 12.0}]
)
def test_uneven_groups_matter_only_where_many_weigh_little_and_few_decide(change) -> None:
    metrics = copy.deepcopy(USUAL)
    _uneven(metrics)
    assert rules.uneven_groups(metrics | {"accuracy": 0.4}).count("classified correctly") == 1
    assert rules.uneven_groups(metrics | change) == ""
