"""Most probable sequences of classes: Viterbi, and for lists beam search and CTC.

Numbers of steps: T; of classes: K; length of a list: L.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_FLOOR = 1e-6  # of a probability; keeps logarithms finite


def viterbi(probabilities: FloatArray, transitions: FloatArray) -> IntArray:
    """The sequence of classes int64 [T] with the highest product of the steps' probabilities
    [T, K] and of the transitions [K, K] (Viterbi, 1967)."""
    log_p = np.log(np.maximum(probabilities, _FLOOR))  # [T, K]
    log_a = np.log(np.maximum(transitions, _FLOOR))
    n_steps, n_classes = log_p.shape
    best_before = np.zeros((n_steps, n_classes), np.int64)
    score = log_p[0].copy() if n_steps else np.zeros(n_classes)
    for step in range(1, n_steps):
        candidates = score[:, None] + log_a  # [from, to]
        best_before[step] = candidates.argmax(axis=0)
        score = candidates.max(axis=0) + log_p[step]
    path = np.zeros(n_steps, np.int64)
    if n_steps:
        path[-1] = int(score.argmax())
    for step in range(n_steps - 1, 0, -1):
        path[step - 1] = best_before[step, path[step]]
    return path


def beam_search(
    next_logits: Callable[[Tensor], Tensor], end_class: int, width: int, max_length: int
) -> list[Tensor]:
    """The most probable lists of classes that a beam search finds, the best first; int64 [L + 1].

    next_logits: lists int64 [n, L] → logits [n, K] of the class that follows each. A list has at
    most max_length classes before end_class. At most `width` lists are returned.
    """
    lists = torch.zeros(1, 0, dtype=torch.long)
    scores = torch.zeros(1, dtype=torch.float64)  # log-probabilities
    finished: list[tuple[float, Tensor]] = []
    for length in range(max_length + 1):
        log_p = next_logits(lists).double().log_softmax(dim=-1)  # [n, K]
        ends = torch.full((lists.shape[0], 1), end_class)
        finished += zip(
            (scores + log_p[:, end_class]).tolist(), torch.cat([lists, ends], dim=1), strict=True
        )
        finished = sorted(finished, key=lambda each: each[0], reverse=True)[:width]
        log_p[:, end_class] = -math.inf
        total = (scores[:, None] + log_p).flatten()
        top = total.topk(min(width, total.shape[0]))
        # a longer list can only be less probable than its beginning
        is_full = len(finished) == width and float(top.values[0]) <= finished[-1][0]
        if length == max_length or is_full:
            break
        parent, following = top.indices // log_p.shape[1], top.indices % log_p.shape[1]
        lists, scores = torch.cat([lists[parent], following[:, None]], dim=1), top.values
    return [one for _, one in finished]


def collapsed(path: Tensor, blank: int) -> Tensor:
    """The list that a CTC path [T] stands for: without repetitions, then without blanks."""
    return torch.tensor([k for k, _ in groupby(path.tolist()) if k != blank]).long()


def list_log_probability(
    steps: Tensor, classes: Tensor, blank: int, transitions: FloatArray | None = None
) -> Tensor:
    """Log-probability of a list of classes int64 [L], up to a term that all lists share.

    steps: logits [T, K]. Without transitions that of CTC: the sum over all paths that stand for the
    list (see `collapsed`) of the product of the steps' probabilities. transitions: probability of
    each class after each [K, K], by which the paths are weighted (hidden Markov model).
    """
    log_p = steps.double().log_softmax(dim=-1)
    if transitions is None:
        return _ctc_log_probability(log_p, classes, blank)
    log_a = torch.from_numpy(transitions).clamp(min=_FLOOR).log()
    # blanks between all classes, as in CTC: a class can follow another one with or without
    states = torch.full((2 * classes.shape[0] + 1,), blank)
    states[1::2] = classes
    stay, enter = log_a[states, states], log_a[states[:-1], states[1:]]
    skip = log_a[states[:-2], states[2:]]
    skip = skip.masked_fill((states[2:] == blank) | (states[2:] == states[:-2]), -math.inf)
    alpha = torch.full(states.shape, -math.inf, dtype=torch.float64)
    alpha[:2] = log_p[0, states[:2]]
    for row in log_p[1:]:
        before = torch.full((3, *states.shape), -math.inf, dtype=torch.float64)
        before[0] = alpha + stay
        before[1, 1:] = alpha[:-1] + enter
        before[2, 2:] = alpha[:-2] + skip
        alpha = before.logsumexp(dim=0) + row[states]
    return alpha[-2:].logsumexp(dim=0)


def _ctc_log_probability(log_p: Tensor, classes: Tensor, blank: int) -> Tensor:
    if not classes.shape[0]:
        return log_p[:, blank].sum()
    n_steps, n_classes = torch.tensor([log_p.shape[0]]), torch.tensor([classes.shape[0]])
    loss: Tensor = nn.functional.ctc_loss(
        log_p[:, None], classes[None], n_steps, n_classes, blank=blank, reduction="sum"
    )
    return -loss
