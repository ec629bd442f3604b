"""Most probable sequences and lists, beside all of them tried one by one."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.segments import UNKNOWN
from models.decoding import beam_search, collapsed, list_log_probability, viterbi
from pipeline.metrics.segment_chain import count_transitions

K, END = 4, 3


def score(path, probabilities, transitions) -> float:
    steps = sum(np.log(probabilities[t, k]) for t, k in enumerate(path))
    return steps + sum(np.log(transitions[a, b]) for a, b in pairwise(path))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_no_sequence_is_more_probable(n_steps: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(n_classes), n_steps).clip(1e-5)
    transitions = rng.dirichlet(np.ones(n_classes), n_classes).clip(1e-5)
    found = score(viterbi(probabilities, transitions), probabilities, transitions)
    best = max(
        score(path, probabilities, transitions)
        for path in product(range(n_classes), repeat=n_steps)
    )
    assert np.isclose(found, best)


def test_a_single_doubtful_step_does_not_end_a_segment() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] + [[0.9, 0.1]] * 4)
    long = count_transitions([np.array([0] * 10 + [1] * 10 + [0] * 10)], 2)
    assert viterbi(probabilities, long).tolist() == [0] * 9
    even = np.full((2, 2), 0.5)
    assert viterbi(probabilities, even).tolist() == probabilities.argmax(axis=1).tolist()


def test_a_certain_change_is_kept() -> None:
    long = count_transitions([np.array([0] * 10 + [1] * 10)], 2)
    probabilities = np.array([[0.99, 0.01]] * 5 + [[0.01, 0.99]] * 5)
    assert viterbi(probabilities, long).tolist() == [0] * 5 + [1] * 5


def test_transitions_are_counted_between_known_steps() -> None:
    found = count_transitions([np.array([0, 0, 1, UNKNOWN, 0])], 2)
    np.testing.assert_allclose(found, [[2 / 4, 2 / 4], [1 / 2, 1 / 2]])
    assert viterbi(np.zeros((0, 2)), found).tolist() == []


def table(probabilities: dict[tuple[int, ...], list[float]]):
    def next_logits(lists: torch.Tensor) -> torch.Tensor:
        rows = [probabilities.get(tuple(one), [0.0] * (K - 1) + [1.0]) for one in lists.tolist()]
        return torch.tensor(rows, dtype=torch.float64).clamp(min=1e-12).log()

    return next_logits


def test_a_beam_finds_what_a_greedy_search_misses() -> None:
    # 0 looks best at first, but the list (1, 2) is the most probable one
    tree = {(): [0.5, 0.4, 0.0, 0.1], (0,): [0.4, 0.2, 0.2, 0.2], (1,): [0.0, 0.0, 1.0, 0.0]}
    assert beam_search(table(tree), END, 1, 5)[0].tolist() == [0, 0, END]
    assert beam_search(table(tree), END, 3, 5)[0].tolist() == [1, 2, END]
    # never longer than its limit
    ends = {n: 0.9 if n in (4, 6) else 1e-6 for n in range(9)}
    forever = table({(0,) * n: [1 - ends[n], 0.0, 0.0, ends[n]] for n in range(9)})
    assert beam_search(forever, END, 2, 4)[0].tolist() == [0, 0, 0, 0, END]
    assert all(len(one) <= 4 for one in beam_search(forever, END, 2, 3))
    assert beam_search(table({(): [0.0, 0.0, 0.0, 1.0]}), END, 2, 4)[0].tolist() == [END]


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_wide_beam_finds_the_most_probable_list_of_all(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    tree = {
        prefix: torch.rand(K, generator=rng).softmax(0).tolist()
        for n in range(4) for prefix in product(range(K - 1), repeat=n)
    }  # fmt: skip
    best, best_p = None, -1.0
    for n in range(4):
        for one in product(range(K - 1), repeat=n):
            p = 1.0
            for place, k in enumerate((*one, END)):
                p *= tree[one[:place]][k]
            if p > best_p:
                best, best_p = (*one, END), p
    assert beam_search(table(tree), END, 100, 3)[0].tolist() == list(best)


def test_a_path_collapses_to_a_list_and_a_list_has_the_probability_of_its_paths() -> None:
    assert collapsed(torch.tensor([END, 0, 0, END, 0, 1, 1, END]), END).tolist() == [0, 0, 1]
    assert collapsed(torch.tensor([END, END]), END).tolist() == []
    steps_ = torch.randn(4, K)
    log_p = steps_.double().log_softmax(dim=-1)
    for classes in ([], [0], [1, 1], [0, 2, 1]):
        total = sum(
            float(log_p[range(4), list(path)].sum().exp())
            for path in product(range(K), repeat=4)
            if collapsed(torch.tensor(path), END).tolist() == classes
        )
        wanted = torch.tensor(classes, dtype=torch.long)
        found = list_log_probability(steps_, wanted, END)
        assert float(found.exp()) == pytest.approx(total, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, END - 1), max_size=3))
def test_with_transitions_a_list_has_the_weight_of_its_paths(seed: int, classes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    steps = torch.from_numpy(rng.normal(size=(4, K)))
    transitions = rng.dirichlet(np.ones(K), K).clip(1e-5)
    log_p = steps.log_softmax(dim=-1).numpy()
    total = sum(
        np.exp(log_p[range(4), path].sum())
        * np.prod([transitions[a, b] for a, b in pairwise(path)])
        for path in map(list, product(range(K), repeat=4))
        if collapsed(torch.tensor(path), END).tolist() == classes
    )
    found = list_log_probability(steps, torch.tensor(classes, dtype=torch.long), END, transitions)
    assert float(found.exp()) == pytest.approx(total, rel=1e-6, abs=1e-12)
    even = list_log_probability(steps, torch.tensor(classes).long(), END, np.ones((K, K)))
    of_ctc = list_log_probability(steps, torch.tensor(classes).long(), END)
    assert float(even) == pytest.approx(float(of_ctc), rel=1e-6)
