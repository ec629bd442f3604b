"""Scores against scikit-learn, with intervals where there are groups, at the edges too.

Precision against recall, against its definition.

What is confused stands side by side, and the most frequent confusions are counted.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report, f1_score

from pipeline.metrics.classification import (
    accuracy_with_interval,
    average_precision,
    confusion_order,
    most_confused,
    paired_difference,
    recall_and_precision,
    score,
)

LABELS = ["a", "b", "c"]
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1)


@given(pairs)
def test_agrees_with_scikit_learn(values) -> None:
    truth, predicted = [t for t, _ in values], [p for _, p in values]
    result = score(truth, predicted, LABELS)
    occurring = sorted({*truth, *predicted})
    macro = f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["macro_f1"] == pytest.approx(macro)
    counts = result["confusion"]["counts"]
    assert sum(map(sum, counts)) == result["n"] == len(values)
    whole = classification_report(
        truth, predicted, labels=LABELS, output_dict=True, zero_division=0
    )
    for i, label in enumerate(LABELS):
        found = result["per_class"][label]
        assert sum(counts[i]) == found["support"] == truth.count(label)
        assert found["predicted"] == predicted.count(label)
        for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert found[ours] == pytest.approx(whole[label][theirs])


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no clip"):
        score([], [], LABELS)


def test_one_clip_has_scores_and_no_interval() -> None:
    result = score(["a"], ["a"], LABELS, ["g"])
    assert (result["accuracy"], result["macro_f1"], result["n_groups"]) == (1.0, 1.0, 1)
    assert result["accuracy_interval"] is result["macro_f1_interval"] is None
    assert result["per_class"]["b"]["support"] == 0
    assert result["per_class"]["b"]["f1_interval"] is None


def test_one_label_alone_and_one_group_alone() -> None:
    one_label = score(["a"] * 6, ["a", "b"] * 3, LABELS, list("123456"))
    assert one_label["per_class"]["a"]["recall"] == 0.5
    low, high = one_label["accuracy_interval"]
    assert low < 0.5 < high
    one_group = score(["a", "b"] * 5, ["a"] * 10, LABELS, ["g"] * 10)
    assert one_group["accuracy_interval"] is None
    assert one_group["per_class"]["a"]["precision"] == 0.5


def test_intervals_are_over_groups() -> None:
    truth = ["a", "b"] * 60
    predicted = [t if k % 3 else "a" for k, t in enumerate(truth)]
    own = score(truth, predicted, LABELS)
    shared = score(truth, predicted, LABELS, [str(k // 12) for k in range(120)])
    assert own["n_groups"] == 120
    assert shared["n_groups"] == 10
    for key in ("accuracy_interval", "macro_f1_interval"):
        for found in (own, shared):
            low, high = found[key]
            assert low < found[key.removesuffix("_interval")] < high
    f1 = shared["per_class"]["b"]
    assert f1["f1_interval"][0] < f1["f1"] < f1["f1_interval"][1]
    assert f1["n_groups"] == 10


def test_macro_f1_has_no_interval_where_a_label_is_of_too_few_groups() -> None:
    truth = ["a", "b"] * 30 + ["c"] * 6
    predicted = [t if k % 3 else "a" for k, t in enumerate(truth)]
    groups = [str(k // 6) for k in range(60)]
    two, three = ["x", "x", "x", "y", "y", "y"], ["x", "x", "y", "y", "z", "z"]
    assert score(truth, predicted, LABELS, [*groups, *two])["macro_f1_interval"] is None
    assert score(truth, predicted, LABELS, [*groups, *three])["macro_f1_interval"] is not None
    without = score(truth[:60], predicted[:60], LABELS, groups)  # "c" is not there at all
    assert without["macro_f1_interval"] is not None


def test_a_label_that_is_only_said_leaves_macro_f1_its_interval() -> None:
    labels = ["cat", "dog", "owl"]
    true = ["cat", "dog"] * 20
    said = [*true[:-1], "owl"]
    found = score(true, said, labels, [f"g{k // 2}" for k in range(40)])
    assert found["macro_f1_interval"] is not None


def test_a_large_group_of_one_label_makes_macro_f1_less_certain() -> None:
    """It is large for its label, though not for all."""
    truth = ["a"] * 100 + ["b"] * 20
    predicted = [t if k % 4 else "ba"[t == "b"] for k, t in enumerate(truth)]
    even = [str(k // 5) for k in range(120)]
    uneven = [*even[:100], *(["p"] * 16 + ["q", "q", "r", "r"])]
    widths = []
    for groups in (even, uneven):
        low, high = score(truth, predicted, LABELS, groups)["macro_f1_interval"]
        widths.append(high - low)
    assert widths[1] > 1.1 * widths[0]


def test_macro_f1s_interval_is_about_that_of_groups_drawn_again() -> None:
    """Against the bootstrap, where that is good: many groups of equal size, few extremes."""
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 1200)
    said = np.where(draw.random(1200) < 0.6, truth, draw.integers(0, 3, 1200))
    groups = np.arange(1200) // 4
    names = np.array(LABELS)
    result = score(list(names[truth]), list(names[said]), LABELS, [str(g) for g in groups])
    drawn = []
    for _ in range(800):
        chosen = (draw.integers(0, 300, 300)[:, None] * 4 + np.arange(4)).ravel()
        drawn.append(f1_score(truth[chosen], said[chosen], average="macro"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert result["macro_f1_interval"][0] == pytest.approx(low, abs=0.006)
    assert result["macro_f1_interval"][1] == pytest.approx(high, abs=0.006)


def test_a_difference_is_paired_and_signed() -> None:
    groups = [str(k // 5) for k in range(100)]
    right = np.arange(100) % 10 < 8
    other = np.arange(100) % 10 < 6
    found = paired_difference(right, other, groups)
    back = paired_difference(other, right, groups)
    assert found.mean == pytest.approx(0.2)
    assert found.n_groups == 20
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.2 < found.high
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_what_is_common_to_both_does_not_make_a_difference_uncertain() -> None:
    draw = np.random.default_rng(0)
    right = draw.random(400) < 0.7
    nearly = right.copy()
    nearly[::40] = ~nearly[::40]
    groups = [str(k // 10) for k in range(400)]
    found = paired_difference(right, nearly, groups)
    _, alone = accuracy_with_interval(right, groups)
    assert found.low is not None
    assert found.high is not None
    assert alone is not None
    assert found.high - found.low < 0.5 * (alone[1] - alone[0])


def test_a_difference_over_two_groups_has_no_interval() -> None:
    found = paired_difference([True, False], [False, False], ["a", "b"])
    assert (found.mean, found.low, found.high, found.n_groups) == (0.5, None, None, 2)


ranked = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.booleans()), min_size=1, max_size=40
).filter(lambda values: any(has for _, has in values))


@given(ranked)
def test_average_precision_is_the_sum_over_thresholds(values) -> None:
    probability, has = np.array([v[0] for v in values]), np.array([v[1] for v in values])
    total, recall_before = 0.0, 0.0
    for cut in sorted(set(probability.tolist()), reverse=True):
        said = probability >= cut
        recall = (said & has).sum() / has.sum()
        total += (recall - recall_before) * (said & has).sum() / said.sum()
        recall_before = recall
    assert average_precision(has, probability) == pytest.approx(total)


@given(ranked)
def test_the_curve_rises_in_recall_and_ends_with_all(values) -> None:
    probability, has = np.array([v[0] for v in values]), np.array([v[1] for v in values])
    curve = recall_and_precision(has, probability)
    assert curve is not None
    assert np.all(np.diff(curve[:, 0]) >= 0)
    assert curve[-1, 0] == 1.0
    assert len(curve) <= 60


def test_a_label_without_clips_has_none() -> None:
    nothing = np.zeros(5, bool)
    assert average_precision(nothing, np.arange(5.0)) is None
    assert recall_and_precision(nothing, np.arange(5.0)) is None
    everything = np.ones(5, bool)
    assert average_precision(everything, np.zeros(5)) == 1.0


def test_confused_labels_are_neighbours() -> None:
    counts = [[8, 0, 0, 4, 0], [0, 9, 0, 0, 3], [0, 0, 9, 0, 0], [5, 0, 0, 7, 0], [0, 4, 0, 0, 9]]
    order = confusion_order(counts)
    place = {label: k for k, label in enumerate(order)}
    assert abs(place[0] - place[3]) == abs(place[1] - place[4]) == 1


@given(st.integers(1, 8).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 5), min_size=n, max_size=n), min_size=n, max_size=n)
))  # fmt: skip
def test_every_label_is_there_once(counts: list[list[int]]) -> None:
    assert sorted(confusion_order(counts)) == list(range(len(counts)))


def test_without_confusion_the_order_stays() -> None:
    assert confusion_order([[3, 0, 0], [0, 2, 0], [0, 0, 0]]) == [0, 1, 2]


def test_the_most_frequent_come_first_and_single_ones_do_not_count() -> None:
    assert most_confused([[9, 2, 0], [5, 4, 1], [0, 2, 8]]) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert most_confused([[9, 2, 0], [5, 4, 1], [0, 2, 8]], most=1) == [(1, 0, 5)]
    assert most_confused([[9, 1], [1, 9]]) == []
