"""Temporal model without recurrence: a causal stack of dilated convolutions.

After WaveNet (van den Oord et al., 2016): each layer is a gated convolution, tanh ⊙ σ, with a
residual and a skip output; the skip outputs are summed. Kernels have two taps, step t and step
t − dilation. Dilations 1, 2, 4, … double the receptive field with every layer.

    steps    . . . . . . . t          layer 3, dilation 4
             .       .       t        looks back 1 + 2 + 4 = 7 steps in all
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.settings import ModelSettings
from models.temporal.base import TemporalModel, TemporalState, zero_padding


class GatedLayer(nn.Module):
    """Gated layer: x [B, T, C] and `dilation` earlier steps → residual and skip, each [B, T, C]."""

    def __init__(self, n_channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(n_channels)
        self.conv = nn.Conv1d(n_channels, 2 * n_channels, 2, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(n_channels, 2 * n_channels)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, T, C], before [B, dilation, C] → next layer's x, skip, next chunk's `before`."""
        normed = torch.cat([before, self.norm(x)], dim=1)  # [B, dilation + T, C]
        convolved = self.conv(normed.transpose(1, 2)).transpose(1, 2)  # [B, T, 2 C]
        value, gate = convolved.chunk(2, dim=-1)  # [B, T, C] each
        residual, skip = self.out(self.dropout(value.tanh() * gate.sigmoid())).chunk(2, dim=-1)
        # normed, not x: the convolution looks back on normed inputs
        return x + residual, skip, normed[:, normed.shape[1] - self.dilation :]


class DilatedModel(TemporalModel):
    """Stack of `n_layers` gated layers with dilations 1, 2, 4, …, padded with zeros on the left.

    The receptive field of a step is itself and the 2 ** n_layers − 1 steps before.
    """

    causal = True

    def __init__(
        self, n_features: int, n_units: int, n_layers: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(n_features, n_units)
        self.into = nn.Linear(n_features, n_units)
        self.layers = nn.ModuleList(
            GatedLayer(n_units, 2**depth, dropout) for depth in range(n_layers)
        )
        self.out = nn.Sequential(nn.GELU(), nn.Linear(n_units, n_units), nn.GELU())

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        return zero_padding(self.forward_chunk(x, None)[0], lengths)

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        x = self.into(x)  # [B, T, units]
        total = torch.zeros_like(x)
        states: list[Tensor] = []
        for depth, layer in enumerate(self.layers):
            assert isinstance(layer, GatedLayer)
            before = x.new_zeros(x.shape[0], layer.dilation, x.shape[2])
            x, skip, after = layer(x, state[depth] if state else before)
            total = total + skip
            states.append(after)
        return self.out(total), states


def build(settings: ModelSettings, n_features: int) -> TemporalModel:
    """model.head=dilated."""
    return DilatedModel(n_features, settings.head_units, settings.head_layers, settings.dropout)
