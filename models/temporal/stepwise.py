"""The temporal model that ignores time: with the mean as pooling, a bag of frames."""

from __future__ import annotations

from torch import Tensor, nn

from models.settings import ModelSettings
from models.temporal.base import TemporalModel, TemporalState, zero_padding


class StepwiseModel(TemporalModel):
    """A linear layer and GELU, applied to each step independently."""

    causal = True

    def __init__(self, n_features: int, n_units: int) -> None:
        super().__init__(n_features, n_units)
        self.layer = nn.Sequential(nn.Linear(n_features, n_units), nn.GELU())

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        return zero_padding(self.layer(x), lengths)

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        return self.layer(x), None


def build(settings: ModelSettings, n_features: int) -> TemporalModel:
    """model.head=mean."""
    return StepwiseModel(n_features, settings.head_units)
