"""What clips that were not trained on decide: which answers count, and how sure to be of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sklearn.metrics import f1_score
from torch import Tensor, nn

from models.output import (
    ALL,
    Answers,
    AnswerWeights,
    best_temperature,
    best_weights,
    pooled,
    situations,
)

Said = Mapping[str, Answers]
"""Situation → what a network says of clips that are shown so: whole, or with one modality alone."""


@dataclass(frozen=True)
class Judgement:
    """How answers become one answer."""

    weights: AnswerWeights
    """What "joint" and each modality's own answer count for, by what a clip has."""
    temperatures: Mapping[str, float]
    """What the logarithms are divided by, by what a clip has."""


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
        return pooled([one.combined(weights) for one in self.answers])

    def judgement(self) -> Judgement:
        """For each situation the set of answers, then the temperature, under which the labels are
        most likely. Clips that have both modalities tell what to make of one that lacks one."""
        weights, temperatures = {}, {}
        names = situations(self.answers[0].own)
        for situation in names:
            shown = self._shown(situation)
            weights[situation] = dict.fromkeys(["joint", *self.answers[0].own], 1.0)
            temperatures[situation] = 1.0
            if shown is not None:
                weights[situation] = best_weights(shown.answers, shown.targets, situation)
                logits = shown.pooled(dict.fromkeys(names, weights[situation]))
                temperatures[situation] = best_temperature(logits, shown.targets)
        return Judgement(weights, temperatures)

    def _shown(self, situation: str) -> Answered | None:
        """The clips that can be shown so, shown so; None where there is no such clip."""
        there = self.said[0][situation].has(situation)
        if not bool(there.any()):
            return None
        said = [{ALL: one[situation].rows(there)} for one in self.said]
        return Answered(said, self.targets[there])

    def probabilities(self, judgement: Judgement) -> Tensor:
        """float64 [N, K], by a judgement that other clips gave."""
        return self._logits(judgement).softmax(dim=-1)

    def _logits(self, judgement: Judgement) -> Tensor:
        temperatures = self.answers[0].by_situation(judgement.temperatures)
        return self.pooled(judgement.weights).double() / temperatures

    def loss(self, judgement: Judgement) -> float:
        """Cross-entropy of the labels, by a judgement."""
        return float(nn.functional.cross_entropy(self._logits(judgement), self.targets))

    def scores(self, weights: AnswerWeights) -> tuple[float, float]:
        """(accuracy, macro-F1)."""
        return scores_of(self.targets, self.pooled(weights).argmax(dim=1))


def scores_of(targets: Tensor, predicted: Tensor) -> tuple[float, float]:
    """(accuracy, macro-F1) of class numbers [N]."""
    f1 = f1_score(targets, predicted, average="macro", zero_division=0)
    return float((predicted == targets).double().mean()), float(f1)
