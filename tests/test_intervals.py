"""Intervals against what others compute, at the edges, and against a known truth by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from benchmarks.studies.coverage import difference_held, held, held_or_told, labels_held
from pipeline.metrics.intervals import (
    LEAST_GROUPS,
    Groups,
    difference_interval,
    effective_number,
    f1_interval,
    ratio_interval,
    share_interval,
)


def test_groups_add_up_their_clips() -> None:
    groups = Groups(["b", "a", "b", "c"])
    assert len(groups) == 3
    assert groups.sizes.tolist() == [1, 2, 1]
    assert groups.sums([1, 10, 100, 1000]).tolist() == [10, 101, 1000]


def test_uneven_groups_weigh_like_fewer_even_ones() -> None:
    assert effective_number(np.array([4.0] * 7)) == pytest.approx(7)
    assert effective_number(np.array([0.0, 5.0, 0.0])) == 1
    assert effective_number(np.zeros(3)) == 0
    assert 1 < effective_number(np.array([90.0, 5.0, 5.0])) < 1.5


@pytest.mark.parametrize(("sizes", "share"), [("heavy-tailed", 0.97), ("2, each tenth 40", 0.9)])
def test_where_a_few_large_groups_decide_it_holds_or_the_report_says_so(
    sizes: str, share: float
) -> None:
    """150 groups of clips that are much alike: the hardest cells of the simulation."""
    _, held_or_said = held_or_told(150, sizes, 0.5, share, repeats=600, seed=1)
    assert held_or_said >= 92


@pytest.mark.parametrize(("right", "n"), [(60, 100), (35, 300), (290, 300)])
def test_without_groups_it_is_wilsons(right: int, n: int) -> None:
    """Each clip its own group: scipy's Wilson interval, but for t instead of the normal."""
    part = np.array([1.0] * right + [0.0] * (n - right))
    found = ratio_interval(part, np.ones(n))
    wilson = binomtest(right, n).proportion_ci(method="wilson")
    assert found is not None
    assert found.low == pytest.approx(wilson.low, abs=0.012)
    assert found.high == pytest.approx(wilson.high, abs=0.012)


def test_clips_that_repeat_each_other_count_once() -> None:
    alone = ratio_interval(np.array([1.0, 0, 1, 1, 0, 1, 1, 1] * 4), np.ones(32))
    tenfold = ratio_interval(np.array([10.0, 0, 10, 10, 0, 10, 10, 10] * 4), np.full(32, 10.0))
    assert alone is not None
    assert tenfold is not None
    assert tenfold.low == pytest.approx(alone.low, abs=0.01)
    assert tenfold.high == pytest.approx(alone.high, abs=0.01)


def test_its_variance_is_the_delta_methods() -> None:
    """The linearised variance of a ratio, computed from its definition another way."""
    draw = np.random.default_rng(0)
    whole = draw.integers(3, 9, 200).astype(float)
    part = draw.binomial(whole.astype(int), 0.6).astype(float)
    ratio = part.sum() / whole.sum()
    covariance = np.cov(part, whole)
    gradient = np.array([1 / whole.mean(), -part.mean() / whole.mean() ** 2])
    deviation = np.sqrt(gradient @ covariance @ gradient / 200)
    found = ratio_interval(part, whole)
    assert found is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.97 * deviation, rel=0.03)
    assert (found.high + found.low) / 2 == pytest.approx(ratio, abs=0.003)


@pytest.mark.parametrize("n_groups", range(LEAST_GROUPS))
def test_too_few_groups_have_no_interval(n_groups: int) -> None:
    ones = np.ones(n_groups)
    assert ratio_interval(ones, ones) is None
    assert share_interval(1.0, ones, ones) is None
    assert difference_interval(ones, ones) is None


def test_groups_without_any_of_the_whole_do_not_count() -> None:
    part, whole = np.array([1.0, 2, 1, 0, 0]), np.array([2.0, 2, 2, 0, 0])
    assert ratio_interval(part, whole) == ratio_interval(part[:3], whole[:3])
    assert ratio_interval(part[2:], whole[2:]) is None


@given(
    st.lists(
        st.integers(1, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=LEAST_GROUPS, max_size=30,
    )
)  # fmt: skip
@settings(deadline=None)
def test_it_holds_the_score_itself_and_stays_in_bounds(groups: list[tuple[int, int]]) -> None:
    part, whole = np.array(groups, float).T
    found = ratio_interval(part, whole)
    assert found is not None
    assert 0 <= found.low <= part.sum() / whole.sum()
    assert part.sum() / whole.sum() <= found.high <= 1
    assert found.low < found.high
    gain = difference_interval(part - whole / 2, whole)
    assert gain is not None
    assert -1 <= gain.low < gain.high <= 1


def test_an_f1_has_the_interval_of_the_share_that_it_rises_with() -> None:
    draw = np.random.default_rng(0)
    hits, missed, wrong = (draw.integers(0, 6, 30).astype(float) for _ in range(3))
    found = f1_interval(hits, hits + missed, hits + wrong)
    share = ratio_interval(hits, hits + missed + wrong)
    assert found is not None
    assert share is not None
    f1 = 2 * hits.sum() / (2 * hits.sum() + missed.sum() + wrong.sum())
    assert found.low < f1 < found.high
    assert found.low / (2 - found.low) == pytest.approx(share.low)
    assert found.high / (2 - found.high) == pytest.approx(share.high)
    nothing = np.zeros(30)
    assert f1_interval(nothing, nothing, nothing) is None


@pytest.mark.parametrize("one_label", [False, True])
@pytest.mark.parametrize(("within", "share"), [(0.0, 0.7), (0.5, 0.7)])
def test_scores_of_labels_hold_the_truth(one_label: bool, within: float, share: float) -> None:
    """80 groups, so that a label has 20 where each group has but one."""
    held_of = labels_held(80, "5 each", within, share, one_label, repeats=300, seed=1)
    assert all(92 <= value <= 98.7 for value in held_of.values()), held_of


def test_macro_f1_holds_with_few_groups_of_each_label() -> None:
    found = labels_held(20, "5 each", 0.5, 0.7, one_label=True, repeats=400, seed=1)
    assert found["macro-F1"] >= 91, found


def test_all_right_is_not_certain() -> None:
    found = ratio_interval(np.full(10, 5.0), np.full(10, 5.0))
    assert found is not None
    assert found.high == 1.0
    assert 0.6 < found.low < 0.8  # ten groups, not fifty clips


def test_two_methods_that_never_differ_may_yet() -> None:
    found = difference_interval(np.zeros(30), np.full(30, 4.0))
    assert found is not None
    assert found.low == -found.high
    assert 0.01 < found.high < 0.1


@pytest.mark.parametrize("n_groups", [20, 40])
@pytest.mark.parametrize("sizes", ["1 each", "5 each", "1 to 15"])
@pytest.mark.parametrize(("within", "share"), [(0.0, 0.6), (0.2, 0.8), (0.5, 0.7)])
def test_the_truth_lies_inside_in_95_of_100(
    n_groups: int, sizes: str, within: float, share: float
) -> None:
    assert 92 <= held(n_groups, sizes, within, share, repeats=600, seed=1) <= 98


@pytest.mark.parametrize("n_groups", [3, 5, 10])
def test_with_few_groups_it_errs_on_the_wide_side(n_groups: int) -> None:
    for sizes in ("5 each", "1 to 15"):
        assert held(n_groups, sizes, 0.3, 0.75, repeats=300, seed=1) >= 92


def test_differences_hold_the_truth_too() -> None:
    assert 92 <= difference_held(40, "5 each", 0.3, repeats=400, seed=1) <= 98.5
    assert difference_held(8, "5 each", 0.3, repeats=200, seed=1) >= 92
