"""What clips that were not trained on decide: which answers count, and how sure to be of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from models.answers import Answers, best_weights
from models.temperature import best_temperature


@dataclass(frozen=True)
class Judgement:
    """How answers become one answer."""

    weights: dict[str, float]
    """What "joint" and each modality's own answer count for."""
    temperature: float


@dataclass(frozen=True)
class Answered:
    """Clips, and what one or several networks that did not train on them say of them.

    answers: one for each network, of all clips; targets int64 [N].
    """

    answers: Sequence[Answers]
    targets: Tensor

    def rows(self, index: Tensor) -> Answered:
        """Some of the clips: bool [N]."""
        return Answered([one.rows(index) for one in self.answers], self.targets[index])

    def pooled(self, weights: dict[str, float]) -> Tensor:
        """Log-probabilities [N, K], the mean over the networks, at temperature 1."""
        each = [one.combined(weights).log_softmax(dim=-1) for one in self.answers]
        return torch.stack(each).mean(dim=0)

    def judgement(self) -> Judgement:
        """The set of answers, then the temperature, under which the labels are most likely."""
        weights = best_weights(self.answers, [self.targets] * len(self.answers))
        return Judgement(weights, best_temperature(self.pooled(weights), self.targets))

    def probabilities(self, judgement: Judgement) -> Tensor:
        """float64 [N, K], by a judgement that other clips gave."""
        logits = self.pooled(judgement.weights).double()
        return (logits / judgement.temperature).softmax(dim=-1)

    def loss(self, judgement: Judgement) -> float:
        """Cross-entropy of the labels, by a judgement."""
        logits = self.pooled(judgement.weights).double() / judgement.temperature
        return float(nn.functional.cross_entropy(logits, self.targets))

    def scores(self, weights: dict[str, float]) -> tuple[float, float]:
        """(accuracy, macro-F1)."""
        predicted = self.pooled(weights).argmax(dim=1)
        f1 = f1_score(self.targets, predicted, average="macro", zero_division=0)
        return float((predicted == self.targets).double().mean()), float(f1)
