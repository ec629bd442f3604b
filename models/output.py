"""Classifier output: logits of the fused and the unimodal heads, their fusion, and calibration.

A clip's modality subset is the modalities it has: all of them, or only one. Fusion weights and
temperatures are chosen per subset, on clips that were not used for training.
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
"""Modality subset → weight of the "joint" (fused) head and of each modality's unimodal head."""

_MIN_GAIN = 1e-6  # a smaller difference in loss is rounding


def modality_subsets(modalities: Iterable[str]) -> list[str]:
    """Names of the possible subsets: all modalities, and if there are two, each one alone."""
    names = list(modalities)
    return [ALL_MODALITIES, *names] if len(names) > 1 else [ALL_MODALITIES]


@dataclass(frozen=True)
class ClassifierOutput:
    """Rows of logits of a batch: N = B for a head with one row per clip, else one for each step.

    fused     float [N, K], of the head on all modalities
    unimodal  modality → float [N, K], of the head on that modality alone
    present   modality → bool [N], whether the clip, or the step, has it; logits of an absent one
              are not used
    """

    fused: Tensor
    unimodal: dict[str, Tensor]
    present: dict[str, Tensor]

    @classmethod
    def concat(cls, parts: Sequence[ClassifierOutput]) -> ClassifierOutput:
        """Concatenate batches."""
        return cls(
            torch.cat([part.fused for part in parts]),
            {
                name: torch.cat([part.unimodal[name] for part in parts])
                for name in parts[0].unimodal
            },
            {name: torch.cat([part.present[name] for part in parts]) for name in parts[0].present},
        )

    def cpu(self) -> ClassifierOutput:
        """A copy in CPU memory."""
        return ClassifierOutput(
            self.fused.cpu(),
            {name: logits.cpu() for name, logits in self.unimodal.items()},
            {name: mask.cpu() for name, mask in self.present.items()},
        )

    def select(self, index: Tensor) -> ClassifierOutput:
        """Some of the rows; index int64 or bool [N]."""
        return ClassifierOutput(
            self.fused[index],
            {name: logits[index] for name, logits in self.unimodal.items()},
            {name: mask[index] for name, mask in self.present.items()},
        )

    def has_modalities(self, subset: str) -> Tensor:
        """bool [N]: rows that have every modality of this subset, and possibly others."""
        names = list(self.unimodal) if subset == ALL_MODALITIES else [subset]
        has_all = torch.ones(self.fused.shape[0], dtype=torch.bool, device=self.fused.device)
        for name in names:
            has_all = has_all & self.present[name]
        return has_all

    def by_subset(self, values: Mapping[str, float]) -> Tensor:
        """[N, 1]: the value of each row's subset. Rows without any modality count as having all."""
        per_row = torch.full_like(self.fused[:, :1], values[ALL_MODALITIES])  # [N, 1]
        for name in modality_subsets(self.unimodal)[1:]:
            only = ~self.has_modalities(ALL_MODALITIES) & self.present[name]  # [N]
            per_row = torch.where(only[:, None], values[name], per_row)
        return per_row

    def combined(self, weights: FusionWeights) -> Tensor:
        """Late fusion [N, K]: mean of the heads' log-probabilities, weighted by each row's subset.

        If every head with a weight is on an absent modality, the fused head is used alone.
        """
        joint = self.fused.log_softmax(dim=-1)  # [N, K]
        total, sum_of_weights = torch.zeros_like(joint), torch.zeros_like(joint[:, :1])
        for name, logits in {"joint": self.fused, **self.unimodal}.items():
            weight = self.by_subset({s: of_heads[name] for s, of_heads in weights.items()})
            if name != "joint":
                weight = weight * self.present[name][:, None]
            total = total + weight * logits.log_softmax(dim=-1)
            sum_of_weights = sum_of_weights + weight
        is_weighted = sum_of_weights > 0  # [N, 1]
        # the inner where avoids 0 / 0, whose NaN gradient would pass through the outer one
        mean = total / torch.where(is_weighted, sum_of_weights, 1.0)
        return torch.where(is_weighted, mean, joint)


def mean_log_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Mean over networks of their log-probabilities; each logits [N, K] → [N, K]."""
    return torch.stack([one.log_softmax(dim=-1) for one in logits]).mean(dim=0)


def select_fusion_weights(
    outputs: Sequence[ClassifierOutput], targets: Tensor, subset: str = ALL_MODALITIES
) -> dict[str, float]:
    """Choose the set of heads whose average has the lowest cross-entropy on these clips.

    outputs: outputs of the networks for the same clips, all of the modality subset `subset`.
    targets: int64 [N]. Returns a weight of 1 or 0 for each head; the head of a modality that the
    clips lack gets 0. Every subset of the heads is tried, with equal weights, so that few clips are
    enough to choose on.
    """
    modalities = list(outputs[0].unimodal)
    names = ["joint", *(modalities if subset == ALL_MODALITIES else [subset])]
    best: tuple[float, dict[str, float]] = (math.inf, {})
    for chosen in _head_subsets(names):
        weights = {name: float(name in chosen) for name in ("joint", *modalities)}
        for_all_subsets = dict.fromkeys(modality_subsets(modalities), weights)
        losses = [
            # not nll_loss: mean log-probabilities are not normalised, which penalises averages
            nn.functional.cross_entropy(one.combined(for_all_subsets), targets, reduction="none")
            for one in outputs
        ]
        loss = float(torch.cat(losses).mean())
        if loss < best[0] - _MIN_GAIN:
            best = (loss, weights)
    return best[1]


def _head_subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names), 0, -1):  # largest first, so that it wins a tie
        yield from combinations(names, size)


_PRIOR_SD = 0.5  # of log T: a dozen clips, all classified correctly, are weak evidence
_MAX_LOG_T = math.log(100)


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Temperature scaling: the temperature with the lowest cross-entropy (Guo et al., 2017).

    logits [N, K], targets int64 [N]. A weak log-normal prior around 1 keeps the temperature away
    from 0 with few clips, or if all of them are classified correctly.
    """
    scores = logits.double()

    def cost(log_t: float) -> float:
        loss = nn.functional.cross_entropy(scores / math.exp(log_t), targets, reduction="sum")
        return float(loss) + 0.5 * (log_t / _PRIOR_SD) ** 2

    with torch.no_grad():
        fit = minimize_scalar(cost, bounds=(-_MAX_LOG_T, _MAX_LOG_T), method="bounded")
    return math.exp(float(fit.x))
