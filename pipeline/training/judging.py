"""What clips that were not trained on decide: which answers count, and how sure to be of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from models.answers import ALL, Answers, AnswerWeights, best_weights, situations
from models.temperature import best_temperature

Said = Mapping[str, Answers]
"""Situation → what a network says of clips that are shown so: whole, or with one modality alone."""


@dataclass(frozen=True)
class Judgement:
    """How answers become one answer."""

    weights: AnswerWeights
    """What "joint" and each modality's own answer count for, by what a clip has."""
    temperature: float


@dataclass(frozen=True)
class Answered:
    """Clips, and what one or several networks that did not train on them say of them.

    said: one for each network, of all clips; targets int64 [N].
    """

    said: Sequence[Said]
    targets: Tensor

    @property
    def answers(self) -> list[Answers]:
        """Those to the clips as they are."""
        return [one[ALL] for one in self.said]

    def rows(self, index: Tensor) -> Answered:
        """Some of the clips: bool [N]."""
        said = [
            {situation: answers.rows(index) for situation, answers in one.items()}
            for one in self.said
        ]
        return Answered(said, self.targets[index])

    def pooled(self, weights: AnswerWeights) -> Tensor:
        """Log-probabilities [N, K], the mean over the networks, at temperature 1."""
        each = [one.combined(weights).log_softmax(dim=-1) for one in self.answers]
        return torch.stack(each).mean(dim=0)

    def judgement(self) -> Judgement:
        """For each situation the set of answers, then the temperature, under which the labels are
        most likely. Clips that have both modalities tell what to make of one that lacks one."""
        names = situations(self.answers[0].own)
        weights = {situation: self._best(situation) for situation in names}
        return Judgement(weights, best_temperature(self.pooled(weights), self.targets))

    def _best(self, situation: str) -> dict[str, float]:
        shown = [one[situation] for one in self.said if situation in one]
        there = shown[0].has(situation) if shown else torch.zeros(1, dtype=torch.bool)
        if not bool(there.any()):  # no clip tells
            return dict.fromkeys(["joint", *self.answers[0].own], 1.0)
        return best_weights([one.rows(there) for one in shown], self.targets[there])

    def probabilities(self, judgement: Judgement) -> Tensor:
        """float64 [N, K], by a judgement that other clips gave."""
        logits = self.pooled(judgement.weights).double()
        return (logits / judgement.temperature).softmax(dim=-1)

    def loss(self, judgement: Judgement) -> float:
        """Cross-entropy of the labels, by a judgement."""
        logits = self.pooled(judgement.weights).double() / judgement.temperature
        return float(nn.functional.cross_entropy(logits, self.targets))

    def scores(self, weights: AnswerWeights) -> tuple[float, float]:
        """(accuracy, macro-F1)."""
        predicted = self.pooled(weights).argmax(dim=1)
        f1 = f1_score(self.targets, predicted, average="macro", zero_division=0)
        return float((predicted == self.targets).double().mean()), float(f1)
