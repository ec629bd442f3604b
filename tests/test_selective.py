"""Accuracy against coverage: from the definition, with ties and few clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluating.selective import coverage_curve, thresholds

judged = st.lists(
    st.tuples(st.sampled_from([0.3, 0.5, 0.7, 0.71, 0.9]), st.booleans()), min_size=1, max_size=60
)


@given(judged)
def test_each_point_is_what_it_says(values: list[tuple[float, bool]]) -> None:
    probability, right = np.array([v[0] for v in values]), np.array([v[1] for v in values])
    points = coverage_curve(probability, right)
    assert len(points) == len(set(probability.tolist()))
    for point in points:
        kept = probability >= point.min_probability
        assert point.n == kept.sum()
        assert point.coverage == pytest.approx(kept.mean())
        assert point.accuracy == pytest.approx(right[kept].mean())
    assert max(point.coverage for point in points) == 1.0


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    draw = np.random.default_rng(0)
    probability = draw.random(5000)
    points = coverage_curve(probability, draw.random(5000) < probability)
    assert len(points) <= 100
    assert {1.0, 1 / 5000} <= {point.coverage for point in points}


def test_a_threshold_is_the_lowest_that_reaches_what_is_wanted() -> None:
    draw = np.random.default_rng(1)
    probability = draw.uniform(0.3, 1, 800)
    right = draw.random(800) < probability
    groups = [str(k // 8) for k in range(800)]
    found = thresholds(probability, right, groups)
    assert [one.wanted_accuracy for one in found] == [0.8, 0.9, 0.95, 0.99][: len(found)]
    assert len(found) >= 3
    for one in found:
        kept = probability >= one.min_probability
        assert right[kept].mean() == pytest.approx(one.accuracy)
        assert one.accuracy >= one.wanted_accuracy
        assert one.interval is not None
        lower = probability >= one.min_probability - 0.001
        assert right[lower].mean() < one.wanted_accuracy or lower.sum() == kept.sum()


def test_what_is_reached_already_needs_no_threshold() -> None:
    ones = np.ones(30, bool)
    assert thresholds(np.full(30, 0.7), ones, ["g"] * 30) == []


def test_what_few_clips_reach_is_not_offered() -> None:
    probability = np.array([0.99] * 5 + [0.5] * 45)
    right = np.array([True] * 5 + [False, True, False] * 15)
    assert thresholds(probability, right, ["g"] * 50) == []
