"""Precision against recall, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluating.ranking import average_precision, recall_and_precision

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
