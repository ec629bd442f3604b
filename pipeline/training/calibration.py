"""Calibration on held-out clips: fusion weights and temperatures for each modality subset."""

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
"""Modality subset → a network's output for the clips restricted to it, the others masked."""


@dataclass(frozen=True)
class Calibration:
    """How the outputs of the heads are combined into one prediction."""

    fusion_weights: FusionWeights
    temperatures: Mapping[str, float]  # modality subset → divisor of the log-probabilities


@dataclass(frozen=True)
class HeldOutOutputs:
    """Outputs of one or several networks for clips that they were not trained on.

    outputs: one for each network, of all clips; targets: int64 [N].
    """

    outputs: Sequence[ModelOutputs]
    targets: Tensor

    @property
    def all_modalities(self) -> list[ClassifierOutput]:
        """Each network's output for the clips as they are, nothing masked."""
        return [one[ALL_MODALITIES] for one in self.outputs]

    def select(self, index: Tensor) -> HeldOutOutputs:
        """The outputs for some of the clips; index bool [N]."""
        outputs = [
            {subset: output.select(index) for subset, output in one.items()} for one in self.outputs
        ]
        return HeldOutOutputs(outputs, self.targets[index])

    def combine(self, weights: FusionWeights) -> Tensor:
        """Mean log-probabilities of the networks [N, K], at temperature 1."""
        return mean_log_probabilities([one.combined(weights) for one in self.all_modalities])

    def calibrate(self) -> Calibration:
        """Choose fusion weights, then a temperature, for each modality subset.

        Both minimise the cross-entropy of the labels; a subset without clips keeps weights and
        temperature of 1.
        """
        weights, temperatures = {}, {}
        names = modality_subsets(self.all_modalities[0].unimodal)
        for subset in names:
            held_out = self._restricted(subset)
            weights[subset] = dict.fromkeys(["joint", *self.all_modalities[0].unimodal], 1.0)
            temperatures[subset] = 1.0  # kept if no clip has this subset
            if held_out is not None:
                weights[subset] = select_fusion_weights(
                    held_out.all_modalities, held_out.targets, subset
                )
                # the clips are masked to one subset, so its weights apply whatever a clip has
                logits = held_out.combine(dict.fromkeys(names, weights[subset]))
                temperatures[subset] = fit_temperature(logits, held_out.targets)
        return Calibration(weights, temperatures)

    def _restricted(self, subset: str) -> HeldOutOutputs | None:
        """The outputs of the clips that have this subset; None if there is none."""
        # clips with both modalities, one of them masked, stand for clips that lack it
        has_subset = self.outputs[0][subset].has_modalities(subset)
        if not bool(has_subset.any()):
            return None
        outputs = [{ALL_MODALITIES: one[subset].select(has_subset)} for one in self.outputs]
        return HeldOutOutputs(outputs, self.targets[has_subset])

    def probabilities(self, calibration: Calibration) -> Tensor:
        """float64 [N, K], with a calibration that was fitted on other clips."""
        return self._logits(calibration).softmax(dim=-1)

    def _logits(self, calibration: Calibration) -> Tensor:
        temperatures = self.all_modalities[0].by_subset(calibration.temperatures)  # [N, 1]
        return self.combine(calibration.fusion_weights).double() / temperatures  # [N, K]

    def loss(self, calibration: Calibration) -> float:
        """Cross-entropy of the labels, calibrated."""
        return float(nn.functional.cross_entropy(self._logits(calibration), self.targets))

    def scores(self, weights: FusionWeights) -> tuple[float, float]:
        """(accuracy, macro-F1) with these fusion weights."""
        return accuracy_and_macro_f1(self.targets, self.combine(weights).argmax(dim=1))


def accuracy_and_macro_f1(targets: Tensor, predicted: Tensor) -> tuple[float, float]:
    """(accuracy, macro-F1); targets and predicted int64 [N] class indices."""
    f1 = f1_score(targets, predicted, average="macro", zero_division=0)
    return float((predicted == targets).double().mean()), float(f1)
