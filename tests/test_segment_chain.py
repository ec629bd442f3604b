"""The chain of segments as a filter next to sums over all paths, and pools of experts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_prep.segments import UNKNOWN
from pipeline.metrics.forecast import chain_forecasts
from pipeline.metrics.segment_chain import SegmentChain, fit_log_pool, log_pool

TIMELINES = st.lists(
    st.lists(st.integers(-1, 2), min_size=1, max_size=20).map(lambda v: np.array(v, np.int64)),
    min_size=1, max_size=4,
)  # fmt: skip


def present_of(seed: int, n_steps: int, n_classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), n_steps)


def plainly_forecast(chain: SegmentChain, present: np.ndarray, horizon: int) -> np.ndarray:
    """The same from every path of classes and lengths, one by one."""
    n_steps, n_classes = present.shape
    longest = chain.leave.shape[1]
    found = np.zeros((n_steps, 1 + horizon, n_classes))
    for t in range(n_steps):
        for path in product(range(n_classes), repeat=t + 1 + horizon):
            # a class may follow itself nowhere, so a path of classes tells the lengths
            p, lasted = chain.frequency[path[0]], 1
            for k, label in enumerate(path):
                if k:
                    leave = chain.leave[path[k - 1], min(lasted, longest) - 1]
                    if label == path[k - 1]:
                        p, lasted = p * (1 - leave), lasted + 1
                    else:
                        p, lasted = p * leave * chain.following[path[k - 1], label], 1
                if k <= t:
                    p *= max(present[k, label], 1e-6) / chain.frequency[label]
            for h in range(1 + horizon):
                found[t, h, path[t + h]] += p
    return found / found.sum(axis=2, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(TIMELINES, st.integers(0, 10_000), st.integers(1, 4))
def test_the_filter_is_a_sum_over_all_paths(known, seed: int, n_steps: int) -> None:
    chain = SegmentChain.fit(known, 3)
    present = present_of(seed, n_steps)
    assert np.allclose(chain.forecast(present, 2), plainly_forecast(chain, present, 2))


@settings(max_examples=50, deadline=None)
@given(TIMELINES, st.integers(0, 10_000), st.integers(1, 11))
def test_later_steps_change_no_earlier_forecast(known, seed: int, n_before: int) -> None:
    chain = SegmentChain.fit(known, 3)
    one, other = present_of(seed, 12), present_of(seed + 1, 12)
    other[:n_before] = one[:n_before]
    before = [chain.forecast(present, 4)[:n_before] for present in (one, other)]
    assert np.array_equal(*before)


@settings(max_examples=50, deadline=None)
@given(TIMELINES)
def test_with_certain_steps_it_is_the_baseline_that_knows_the_labels(known) -> None:
    cycle = np.array([0, 0, 1, 1, 1, 2, 0, 0, 1, 1, 1], np.int64)
    chain = SegmentChain.fit([*known, cycle], 3)
    found = chain.forecast(np.eye(3)[cycle], 3)[:, 1:]
    expected = chain_forecasts([*known, cycle], [cycle], 3, 3)["segment_chain"][0]
    best = np.sort(found, axis=2)
    clear = best[:, :, -1] > best[:, :, -2] + 1e-3  # the steps are only nearly certain
    assert (found.argmax(axis=2) == expected)[clear].all()


def test_probabilities_sum_to_one_and_a_chain_without_any_segment_knows_nothing() -> None:
    chain = SegmentChain.fit([np.full(3, UNKNOWN)], 3)
    found = chain.forecast(present_of(0, 5), 3)
    assert np.allclose(found.sum(axis=2), 1)
    assert np.allclose(chain.frequency, 1 / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_pool_is_at_least_as_good_as_each_expert(seed: int) -> None:
    rng = np.random.default_rng(seed)
    experts = rng.dirichlet(np.ones(3), (2, 40, 2))  # [E, N, H, K]
    truth = rng.integers(-1, 3, (40, 2))
    assume((truth >= 0).any(axis=0).all())

    def losses(p: np.ndarray) -> np.ndarray:
        return np.array(
            [-np.log(p[truth[:, h] >= 0, h, truth[truth[:, h] >= 0, h]]).mean() for h in range(2)]
        )

    pooled = losses(log_pool(experts, fit_log_pool(experts, truth)))
    for expert in experts:
        assert (pooled <= losses(expert) + 1e-5).all()


def test_the_pool_takes_the_expert_that_knows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (300, 2))
    knows = 0.7 * np.eye(3)[truth] + 0.1
    guesses = rng.dirichlet(np.ones(3), (300, 2))
    # the first horizon is known to one, the second to the other
    first = np.stack([knows[:, 0], guesses[:, 1]], axis=1)
    second = np.stack([guesses[:, 0], knows[:, 1]], axis=1)
    weights = fit_log_pool(np.stack([first, second]), truth)
    assert weights[0, 0] > 10 * weights[0, 1]
    assert weights[1, 1] > 10 * weights[1, 0]


def test_unknown_rows_do_not_count_and_without_a_known_one_experts_weigh_the_same() -> None:
    rng = np.random.default_rng(1)
    experts = rng.dirichlet(np.ones(3), (2, 30, 1))
    truth = rng.integers(0, 3, (30, 1))
    truth[20:] = UNKNOWN
    some = fit_log_pool(experts[:, :20], truth[:20])
    assert np.allclose(fit_log_pool(experts, truth), some)
    assert fit_log_pool(experts, np.full((30, 1), UNKNOWN)) == pytest.approx(0.5)
