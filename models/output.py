"""What the network says of a clip: the joint answer, each modality's own, and their average.

How sure the answers should be: one number, fitted on clips that were not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

ALL_MODALITIES = "all"
FusionWeights = Mapping[str, Mapping[str, float]]
"""Situation → what "joint" and each modality's own answer count for then; see `situations`."""

_LEAST_GAIN = 1e-6  # less than this is rounding


def modality_subsets(modalities: Iterable[str]) -> list[str]:
    """What a clip can have: all modalities, or where there are two, one of them alone."""
    names = list(modalities)
    return [ALL_MODALITIES, *names] if len(names) > 1 else [ALL_MODALITIES]


@dataclass(frozen=True)
class ClassifierOutput:
    """Logits of a batch.

    joint    float [B, K], of picture and sound together
    own      modality → float [B, K], of that modality alone
    present  modality → bool [B], whether the clip has it: an answer about nothing does not count
    """

    fused: Tensor
    unimodal: dict[str, Tensor]
    present: dict[str, Tensor]

    @classmethod
    def concat(cls, parts: Sequence[ClassifierOutput]) -> ClassifierOutput:
        """One batch of several."""
        return cls(
            torch.cat([part.fused for part in parts]),
            {
                name: torch.cat([part.unimodal[name] for part in parts])
                for name in parts[0].unimodal
            },
            {name: torch.cat([part.present[name] for part in parts]) for name in parts[0].present},
        )

    def cpu(self) -> ClassifierOutput:
        """The same, not on a GPU."""
        return ClassifierOutput(
            self.fused.cpu(),
            {name: logits.cpu() for name, logits in self.unimodal.items()},
            {name: there.cpu() for name, there in self.present.items()},
        )

    def select(self, index: Tensor) -> ClassifierOutput:
        """Those of some of the clips: int64 [N], or bool [B]."""
        return ClassifierOutput(
            self.fused[index],
            {name: logits[index] for name, logits in self.unimodal.items()},
            {name: there[index] for name, there in self.present.items()},
        )

    def has_modalities(self, situation: str) -> Tensor:
        """bool [B]: the clips that are judged as in this situation, or can be shown so."""
        names = list(self.unimodal) if situation == ALL_MODALITIES else [situation]
        there = torch.ones(self.fused.shape[0], dtype=torch.bool, device=self.fused.device)
        for name in names:
            there = there & self.present[name]
        return there

    def by_subset(self, values: Mapping[str, float]) -> Tensor:
        """[B, 1]: each clip's value of the situation it is in. Clips of none count as whole."""
        found = torch.full_like(self.fused[:, :1], values[ALL_MODALITIES])
        for name in modality_subsets(self.unimodal)[1:]:
            only = ~self.has_modalities(ALL_MODALITIES) & self.present[name]
            found = torch.where(only[:, None], values[name], found)
        return found

    def combined(self, weights: FusionWeights) -> Tensor:
        """[B, K]: mean of the log-probabilities, by the weights of each clip's situation. Where no
        answer with a weight counts, the joint answer stands."""
        joint = self.fused.log_softmax(dim=-1)
        total, sum_of_weights = torch.zeros_like(joint), torch.zeros_like(joint[:, :1])
        for name, logits in {"joint": self.fused, **self.unimodal}.items():
            weight = self.by_subset({s: of_answers[name] for s, of_answers in weights.items()})
            if name != "joint":
                weight = weight * self.present[name][:, None]
            total = total + weight * logits.log_softmax(dim=-1)
            sum_of_weights = sum_of_weights + weight
        some = sum_of_weights > 0
        return torch.where(some, total / torch.where(some, sum_of_weights, 1.0), joint)


def mean_log_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Mean of several networks' log-probabilities: each [B, K] → [B, K]."""
    return torch.stack([one.log_softmax(dim=-1) for one in logits]).mean(dim=0)


def select_fusion_weights(
    answers: Sequence[ClassifierOutput], targets: Tensor, situation: str = ALL_MODALITIES
) -> dict[str, float]:
    """Which answers to average: those whose average has the lowest cross-entropy on these clips,
    all of which are in this situation. targets int64 [B].

    Every set of them is tried; equal weights within, so that few clips are enough to choose on. An
    answer about a modality that the clips lack has no weight.
    """
    own = list(answers[0].unimodal)
    names = ["joint", *(own if situation == ALL_MODALITIES else [situation])]
    best: tuple[float, dict[str, float]] = (math.inf, {})
    for chosen in _subsets(names):
        weights = {name: float(name in chosen) for name in ("joint", *own)}
        everywhere = dict.fromkeys(modality_subsets(own), weights)
        losses = [
            # not nll_loss: a mean of logarithms does not sum to one, so no average would ever win
            nn.functional.cross_entropy(one.combined(everywhere), targets, reduction="none")
            for one in answers
        ]
        loss = float(torch.cat(losses).mean())
        if loss < best[0] - _LEAST_GAIN:
            best = (loss, weights)
    return best[1]


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """All of them first: among equals the larger average wins."""
    for size in range(len(names), 0, -1):
        yield from combinations(names, size)


_PRIOR_SD = 0.5  # of the temperature's logarithm: a dozen clips, all right, prove no certainty
_WIDEST = math.log(100)


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature that makes these clips' labels most likely (Guo et al., 2017).

    logits [N, K], targets int64 [N]. A weak prior around 1 (log-normal) keeps it finite where few
    clips, or only right answers, would have it go to 0.
    """
    scores = logits.double()

    def cost(log_t: float) -> float:
        loss = nn.functional.cross_entropy(scores / math.exp(log_t), targets, reduction="sum")
        return float(loss) + 0.5 * (log_t / _PRIOR_SD) ** 2

    with torch.no_grad():
        found = minimize_scalar(cost, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return math.exp(float(found.x))
