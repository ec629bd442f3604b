"""

Accuracy against coverage: from the definition, with ties and few clips.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from pipeline.metrics.reliability import calibration, coverage_curve, expected_error, thresholds


def drawn(n: int, shift: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    probability = rng.uniform(0.35, 0.95, n)
    right = rng.random(n) < np.clip(probability + shift, 0, 1)
    return probability, right, [str(k // 4) for k in range(n)]


def test_calibrated_probabilities_pass_as_often_as_they_should() -> None:
    found = [calibration(*drawn(200, 0.0, seed)) for seed in range(60)]
    assert np.mean([one.p_value < 0.1 for one in found]) < 0.25
    assert np.mean([one.error for one in found]) < 0.05


@pytest.mark.parametrize("shift", [-0.2, 0.15])
def test_too_sure_and_not_sure_enough_are_found(shift: float) -> None:
    found = calibration(*drawn(400, shift))
    assert found.p_value < 0.01
    assert found.error == pytest.approx(abs(shift), abs=0.08)
    assert np.sign(found.accuracy - found.mean_probability) == np.sign(shift)


def test_the_error_is_that_of_the_definition() -> None:
    probability, right, groups = drawn(100, -0.1)
    order = np.argsort(probability, kind="stable")
    total = 0.0
    for part in np.array_split(order, 4):
        share, n = right[part].mean(), part.size
        total += n / 100 * ((share - probability[part].mean()) ** 2 - share * (1 - share) / (n - 1))
    found = calibration(probability, right, groups)
    assert found.n_bins == 4  # of 25 clips
    assert found.error == pytest.approx(np.sqrt(max(0, total)))


@pytest.mark.parametrize("seed", range(4))
def test_the_expected_error_is_torchmetrics(seed: int) -> None:
    """Torchmetrics' binary error compares probabilities with targets in bins of equal width."""
    probability, right, _ = drawn(300, -0.1, seed)
    theirs = binary_calibration_error(
        torch.tensor(probability), torch.tensor(right).int(), n_bins=15, norm="l1"
    )
    assert expected_error(probability, right) == pytest.approx(float(theirs), abs=1e-6)


def test_certainty_and_ties_have_a_bin() -> None:
    ones = np.ones(30)
    assert expected_error(ones, ones.astype(bool)) == 0.0
    tied = calibration(np.full(40, 0.5), np.arange(40) % 2 == 0, ["g"] * 40)
    assert tied.mean_probability == 0.5
    assert all(one.interval is None for one in tied.bins)  # of one group


@pytest.mark.parametrize("n_others", [1, 2, 9])
def test_few_clips_beside_many_certain_ones_are_in_their_bin(n_others: int) -> None:
    probability = np.concatenate([np.full(n_others, 0.5), np.ones(30 - n_others)])
    found = calibration(probability, probability == 1, [str(k) for k in range(30)])
    assert [each.n for each in found.bins] == [30]
    middle = np.concatenate([np.zeros(15), np.full(3, 0.5), np.ones(15)])
    found = calibration(middle, middle == 1, [str(k) for k in range(33)])
    assert all(each.n >= 10 for each in found.bins)
    assert sum(each.n for each in found.bins) == 33


def test_bins_hold_all_clips_and_their_shares() -> None:
    probability, right, groups = drawn(160, 0.0)
    found = calibration(probability, right, groups)
    assert sum(one.n for one in found.bins) == 160
    assert sum(one.n * one.accuracy for one in found.bins) == pytest.approx(right.sum())
    assert np.all(np.diff([one.mean_probability for one in found.bins]) > 0)
    assert all(one.interval[0] <= one.accuracy <= one.interval[1] for one in found.bins)


@pytest.mark.parametrize("digits", [0, 1, 3])
def test_the_order_of_the_files_does_not_matter(digits: int) -> None:
    probability, right, groups = drawn(160, 0.0)
    probability = probability.round(digits)
    mixed = np.lexsort((right, probability))  # within equal ones the wrong first, then the right
    found = calibration(probability, right, groups)
    other = calibration(probability[mixed], right[mixed], [groups[int(k)] for k in mixed])
    assert other.error == pytest.approx(found.error)
    assert [b.n for b in other.bins] == [b.n for b in found.bins]
    assert sum(b.n for b in found.bins) == 160


def test_few_clips_say_nothing() -> None:
    assert calibration(*drawn(19, 0.0)) is None


def test_clips_that_are_wrong_together_do_not_condemn_a_calibrated_model() -> None:
    """Groups of ten whose shares vary around their probability."""
    condemned = []
    for seed in range(80):
        draw = np.random.default_rng(seed)
        probability = np.repeat(draw.uniform(0.5, 0.9, 30), 10)
        scale = 1.0  # beta of mean p: clips of one group are much alike
        shares = draw.beta(probability[::10] * scale, (1 - probability[::10]) * scale)
        right = draw.random(300) < np.repeat(shares, 10)
        groups = [str(k // 10) for k in range(300)]
        found = calibration(probability + draw.normal(0, 1e-6, 300), right, groups)
        condemned.append(found.p_value < 0.05)
    assert np.mean(condemned) <= 0.12


@pytest.mark.parametrize("n_groups", [1, 5, 6])
def test_few_groups_cannot_tell(n_groups: int) -> None:
    """However wrong the model is: signs of five groups can be drawn in sixteen ways."""
    probability = np.random.default_rng(0).uniform(0.95, 0.99, 60)
    groups = [str(k % n_groups) for k in range(60)]
    found = calibration(probability, np.arange(60) % 5 == 0, groups)
    assert (found.p_value is None) == (n_groups < 6)
    assert found.p_value is None or found.p_value < 0.1


@pytest.mark.parametrize(
    ("n", "n_bins"), [(19, None), (20, 2), (49, 2), (131, 5), (374, 14), (375, 15), (4000, 15)]
)
def test_few_clips_are_in_few_bins(n: int, n_bins: int | None) -> None:
    found = calibration(*drawn(n, 0.0))
    assert (None if found is None else found.n_bins) == n_bins


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
