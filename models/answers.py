"""What the network says of a clip: the joint answer, each modality's own, and their average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

_WORTH = 1e-6  # less than this is rounding


@dataclass(frozen=True)
class Answers:
    """Logits of a batch.

    joint    float [B, K], of picture and sound together
    own      modality → float [B, K], of that modality alone
    present  modality → bool [B], whether the clip has it: an answer about nothing does not count
    """

    joint: Tensor
    own: dict[str, Tensor]
    present: dict[str, Tensor]

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """One batch of several."""
        return cls(
            torch.cat([part.joint for part in parts]),
            {name: torch.cat([part.own[name] for part in parts]) for name in parts[0].own},
            {name: torch.cat([part.present[name] for part in parts]) for name in parts[0].present},
        )

    def cpu(self) -> Answers:
        """The same, not on a GPU."""
        return Answers(
            self.joint.cpu(),
            {name: logits.cpu() for name, logits in self.own.items()},
            {name: there.cpu() for name, there in self.present.items()},
        )

    def rows(self, index: Tensor) -> Answers:
        """Those of some of the clips: int64 [N], or bool [B]."""
        return Answers(
            self.joint[index],
            {name: logits[index] for name, logits in self.own.items()},
            {name: there[index] for name, there in self.present.items()},
        )

    def combined(self, weights: dict[str, float] | None = None) -> Tensor:
        """[B, K]: weighted mean of the log-probabilities of the answers that count.

        weights: of "joint" and of each modality; None: all alike. Where none with a weight counts,
        the joint answer stands.
        """
        joint = self.joint.log_softmax(dim=-1)
        total, sum_of_weights = torch.zeros_like(joint), torch.zeros_like(joint[:, :1])
        for name, logits in {"joint": self.joint, **self.own}.items():
            weight = torch.full_like(sum_of_weights, 1.0 if weights is None else weights[name])
            if name != "joint":
                weight = weight * self.present[name][:, None]
            total = total + weight * logits.log_softmax(dim=-1)
            sum_of_weights = sum_of_weights + weight
        some = sum_of_weights > 0
        return torch.where(some, total / torch.where(some, sum_of_weights, 1.0), joint)


def best_weights(answers: Sequence[Answers], targets: Sequence[Tensor]) -> dict[str, float]:
    """Which answers to average: those whose average has the lowest cross-entropy on these clips.

    Every set of them is tried; equal weights within, so that few clips are enough to choose on.
    """
    names = ["joint", *answers[0].own]
    best: tuple[float, dict[str, float]] = (math.inf, {})
    for chosen in _sets(names):
        weights = {name: float(name in chosen) for name in names}
        losses = [
            # not nll_loss: a mean of logarithms does not sum to one, so no average would ever win
            nn.functional.cross_entropy(one.combined(weights), target, reduction="none")
            for one, target in zip(answers, targets, strict=True)
        ]
        loss = float(torch.cat(losses).mean())
        if loss < best[0] - _WORTH:
            best = (loss, weights)
    return best[1]


def _sets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """All of them first: among equals the larger average wins."""
    for size in range(len(names), 0, -1):
        yield from combinations(names, size)
