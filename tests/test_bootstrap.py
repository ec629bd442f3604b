import numpy as np
import pytest

from pipeline.evaluating.bootstrap import paired_difference


def test_the_mean_is_the_difference_of_accuracies() -> None:
    found = paired_difference([True, True, False, True], [True, False, False, False], list("aabb"))
    assert found.mean == pytest.approx(0.5)
    assert found.n_groups == 2
    assert found.low <= found.mean <= found.high


def test_one_group_has_no_interval() -> None:
    found = paired_difference([True, False], [False, False], ["a", "a"])
    assert (found.mean, found.low, found.high) == (0.5, None, None)


def test_equal_methods_differ_by_nothing() -> None:
    right = [True, False, True]
    found = paired_difference(right, right, list("abc"))
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_clips_of_one_group_count_as_one_piece_of_evidence() -> None:
    rng = np.random.default_rng(0)
    group_right = rng.random(12) < 0.7
    right, groups = np.repeat(group_right, 20).tolist(), np.repeat(np.arange(12), 20).astype(str)
    other = [False] * len(right)
    grouped = paired_difference(right, other, groups.tolist())
    alone = paired_difference(right, other, [str(k) for k in range(len(right))])
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    groups = np.repeat(np.arange(30), 5)
    for _ in range(200):
        gain = rng.uniform(-0.25, 0.25, 30)[groups]  # groups favour the one or the other
        right = rng.random(150) < 0.55 + gain
        other = rng.random(150) < 0.45 - gain
        found = paired_difference(right.tolist(), other.tolist(), groups.astype(str).tolist())
        covered += found.low <= 0.1 <= found.high
    assert 180 <= covered <= 198
