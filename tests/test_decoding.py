"""Viterbi decoding, beside all sequences tried one by one."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.segments import UNKNOWN
from pipeline.tasks.timeline import count_transitions, viterbi


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
