"""What clips that were not trained on decide: which answers count, and how sure to be of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sklearn.metrics import f1_score
from torch import Tensor, nn

from models.output import (
    ALL_MODALITIES,
    ClassifierOutput,
    FusionWeights,
    fit_temperature,
    mean_log_probabilities,
    modality_subsets,
    select_fusion_weights,
)

ModelOutputs = Mapping[str, ClassifierOutput]
"""Situation → what a network says of clips that are shown so: whole, or with one modality alone."""


@dataclass(frozen=True)
class Calibration:
    """How answers become one answer."""

    fusion_weights: FusionWeights
    """What "joint" and each modality's own answer count for, by what a clip has."""
    temperatures: Mapping[str, float]
    """What the logarithms are divided by, by what a clip has."""


@dataclass(frozen=True)
class HeldOutOutputs:
    """Clips, and what one or several networks that did not train on them say of them.

    said: one for each network, of all clips; targets int64 [N].
    """

    outputs: Sequence[ModelOutputs]
    targets: Tensor

    @property
    def all_modalities(self) -> list[ClassifierOutput]:
        """Those to the clips as they are."""
        return [one[ALL_MODALITIES] for one in self.outputs]

    def select(self, index: Tensor) -> HeldOutOutputs:
        """Some of the clips: bool [N]."""
        said = [
            {situation: answers.select(index) for situation, answers in one.items()}
            for one in self.outputs
        ]
        return HeldOutOutputs(said, self.targets[index])

    def combine(self, weights: FusionWeights) -> Tensor:
        """Log-probabilities [N, K], the mean over the networks, at temperature 1."""
        return mean_log_probabilities([one.combined(weights) for one in self.all_modalities])

    def calibrate(self) -> Calibration:
        """For each situation the set of answers, then the temperature, under which the labels are
        most likely. Clips that have both modalities tell what to make of one that lacks one."""
        weights, temperatures = {}, {}
        names = modality_subsets(self.all_modalities[0].unimodal)
        for situation in names:
            shown = self._shown(situation)
            weights[situation] = dict.fromkeys(["joint", *self.all_modalities[0].unimodal], 1.0)
            temperatures[situation] = 1.0
            if shown is not None:
                weights[situation] = select_fusion_weights(
                    shown.all_modalities, shown.targets, situation
                )
                logits = shown.combine(dict.fromkeys(names, weights[situation]))
                temperatures[situation] = fit_temperature(logits, shown.targets)
        return Calibration(weights, temperatures)

    def _shown(self, situation: str) -> HeldOutOutputs | None:
        """The clips that can be shown so, shown so; None where there is no such clip."""
        there = self.outputs[0][situation].has_modalities(situation)
        if not bool(there.any()):
            return None
        said = [{ALL_MODALITIES: one[situation].select(there)} for one in self.outputs]
        return HeldOutOutputs(said, self.targets[there])

    def probabilities(self, judgement: Calibration) -> Tensor:
        """float64 [N, K], by a judgement that other clips gave."""
        return self._logits(judgement).softmax(dim=-1)

    def _logits(self, judgement: Calibration) -> Tensor:
        temperatures = self.all_modalities[0].by_subset(judgement.temperatures)
        return self.combine(judgement.fusion_weights).double() / temperatures

    def loss(self, judgement: Calibration) -> float:
        """Cross-entropy of the labels, by a judgement."""
        return float(nn.functional.cross_entropy(self._logits(judgement), self.targets))

    def scores(self, weights: FusionWeights) -> tuple[float, float]:
        """(accuracy, macro-F1)."""
        return accuracy_and_macro_f1(self.targets, self.combine(weights).argmax(dim=1))


def accuracy_and_macro_f1(targets: Tensor, predicted: Tensor) -> tuple[float, float]:
    """(accuracy, macro-F1) of class numbers [N]."""
    f1 = f1_score(targets, predicted, average="macro", zero_division=0)
    return float((predicted == targets).double().mean()), float(f1)
