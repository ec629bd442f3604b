"""What validation clips choose, and what the choice is worth on clips that had no part in it.

An epoch, and a set of answers, that are chosen because they do well on some clips do better on
these than on others: with 25 clips by six to ten points (benchmarks/stopping.py). So each half of
the validation clips also chooses for the other one, and the score that is reported is that of all
of them, each judged by the choice it had no part in (cross-fitting).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from sklearn.metrics import f1_score
from torch import Tensor

from models.answers import Answers, AnswerWeights

Choose = Callable[[Answers, Tensor], tuple[AnswerWeights, float]]
"""Answers about clips, and their class numbers → which answers count, and how good that is."""
_LEAST_SHARE = 0.25


def halves_of(groups: Sequence[str]) -> Tensor:
    """Bool [N]: which half each clip belongs to; clips of one group to the same one.

    Where groups are too uneven for that, as where there is one alone, clips are divided.
    """
    counts = Counter(groups)
    half: dict[str, bool] = {}
    sizes = [0, 0]
    for group in sorted(counts, key=lambda name: (-counts[name], name)):
        half[group] = sizes[1] < sizes[0]
        sizes[half[group]] += counts[group]
    if min(sizes) < _LEAST_SHARE * len(groups):
        return torch.arange(len(groups)) % 2 == 1
    return torch.tensor([half[group] for group in groups])


class CrossFitted:
    """Follows the epochs of a training; each half of the validation clips chooses one of them, and
    the answers that count, for the other half."""

    def __init__(self, second: Tensor, epochs_compete: bool) -> None:
        """second: bool [N], the clips of the second half, in the order in which epochs show them.
        epochs_compete: whether an epoch is chosen; else each replaces the one before."""
        self._halves = (~second, second)
        self._epochs_compete = epochs_compete
        self._best = [-math.inf, -math.inf]
        self._predicted = torch.full(second.shape, -1)

    def see(self, answers: Answers, targets: Tensor, choose: Choose) -> None:
        """An epoch's answers about all validation clips, and their class numbers [N]."""
        for number, half in enumerate(self._halves):
            those = half if bool(half.any()) else ~half  # of a single clip
            weights, worth = choose(answers.rows(those), targets[those])
            if worth > self._best[number] or not self._epochs_compete:
                self._best[number] = worth
                others = answers.rows(~half).combined(weights)
                self._predicted[~half] = others.argmax(dim=1)

    def scores(self, targets: Tensor) -> tuple[float, float]:
        """(accuracy, macro-F1) of all clips seen, targets [N] in their order."""
        f1 = f1_score(targets, self._predicted, average="macro", zero_division=0)
        return float((self._predicted == targets).double().mean()), float(f1)

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self._best), "predicted": self._predicted.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._predicted = list(state["best"]), state["predicted"].clone()
