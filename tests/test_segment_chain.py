"""The chain of segments as a filter next to sums over all paths, and pools of experts."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_prep.segments import UNKNOWN
from pipeline.metrics.forecast import chain_forecasts
from pipeline.metrics.segment_chain import SegmentChain, fit_evidence_weight, fit_log_pool, log_pool

TIMELINES = st.lists(
    st.lists(st.integers(-1, 2), min_size=1, max_size=20).map(lambda v: np.array(v, np.int64)),
    min_size=1, max_size=4,
)  # fmt: skip


ALL = np.array([0, 1, 2, 0], np.int64)  # every class once
PRIOR = np.array([0.0, 1.0])


def present_of(seed: int, n_steps: int, n_classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), n_steps)


def plainly_forecast(
    chain: SegmentChain, present: np.ndarray, horizon: int, weight: float
) -> np.ndarray:
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
                    p *= (max(present[k, label], 1e-6) / chain.frequency[label]) ** weight
            for h in range(1 + horizon):
                found[t, h, path[t + h]] += p
    return found / found.sum(axis=2, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(TIMELINES, st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_filter_is_a_sum_over_all_paths(known, seed: int, n_steps: int, weight) -> None:
    chain = SegmentChain.fit([*known, ALL], 3)
    present = present_of(seed, n_steps)
    expected = plainly_forecast(chain, present, 2, weight)
    assert np.allclose(chain.forecast(present, 2, weight), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 3.0]))
def test_a_class_that_no_known_file_has_is_never_forecast(seed: int, weight: float) -> None:
    chain = SegmentChain.fit([np.array([0, 0, 2, 0, 0, 0, 2, 2], np.int64)], 3)
    found = chain.forecast(present_of(seed, 20), 4, weight)
    assert (found[:, :, 1] == 0).all()
    assert np.allclose(found.sum(axis=2), 1)
    one = SegmentChain.fit([np.array([1, 1, 1], np.int64)], 3)
    assert np.allclose(one.forecast(present_of(seed, 5), 2)[:, :, 1], 1)


def test_a_classifier_that_knows_nothing_leaves_the_chain_alone() -> None:
    timeline = np.array(([0] * 9 + [1]) * 10, np.int64)
    chain = SegmentChain.fit([timeline], 2)
    guesses = present_of(0, 100, 2)
    weight = fit_evidence_weight(chain, guesses, timeline)
    assert weight < 0.3
    evenly = chain.forecast(np.full((60, 2), 0.5), 3, 0.0)
    assert evenly[20:, 0, 1].mean() < 0.2
    sees = 0.05 + 0.9 * np.eye(2)[timeline]
    assert fit_evidence_weight(chain, sees, timeline) > 1
    assert fit_evidence_weight(chain, sees, np.full(100, UNKNOWN)) == 1


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
def test_a_pool_is_hardly_worse_than_any_expert(seed: int) -> None:
    rng = np.random.default_rng(seed)
    experts = rng.dirichlet(np.ones(3), (2, 400, 2))  # [E, N, H, K]
    truth = rng.integers(-1, 3, (400, 2))
    assume((truth >= 0).any(axis=0).all())

    def losses(p: np.ndarray) -> np.ndarray:
        return np.array(
            [-np.log(p[truth[:, h] >= 0, h, truth[truth[:, h] >= 0, h]]).mean() for h in range(2)]
        )

    pooled = losses(log_pool(experts, fit_log_pool(experts, truth, PRIOR)))
    for expert in experts:
        assert (pooled <= losses(expert) + 0.02).all()  # the prior costs up to 2 / 400


def test_the_pool_takes_the_expert_that_knows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (300, 2))
    knows = 0.7 * np.eye(3)[truth] + 0.1
    guesses = rng.dirichlet(np.ones(3), (300, 2))
    # the first horizon is known to one, the second to the other
    first = np.stack([knows[:, 0], guesses[:, 1]], axis=1)
    second = np.stack([guesses[:, 0], knows[:, 1]], axis=1)
    weights = fit_log_pool(np.stack([first, second]), truth, PRIOR)
    assert weights[0, 0] > 8 * weights[0, 1]
    assert weights[1, 1] > 10 * weights[1, 0]


def test_unknown_rows_do_not_count_and_few_rows_change_little() -> None:
    rng = np.random.default_rng(1)
    experts = rng.dirichlet(np.ones(3), (2, 30, 1))
    truth = rng.integers(0, 3, (30, 1))
    truth[20:] = UNKNOWN
    some = fit_log_pool(experts[:, :20], truth[:20], PRIOR)
    assert np.allclose(fit_log_pool(experts, truth, PRIOR), some)
    assert fit_log_pool(experts, np.full((30, 1), UNKNOWN), PRIOR)[0].tolist() == [0, 1]
    few = fit_log_pool(experts[:, :2], truth[:2], PRIOR)[0]
    assert np.abs(few - PRIOR).max() < 0.6
    # experts that are always wrong: the chain is still asked
    wrong = np.zeros((2, 300, 1, 3))
    wrong[..., 0] = 1
    assert fit_log_pool(wrong, np.full((300, 1), 2), PRIOR)[0, 1] >= 0.05
