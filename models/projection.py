"""Features made by another network, brought to one scale and to the width this network works in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_LEAST = 1e-3  # a feature that hardly changes must not be blown up


class Standardise(nn.Module):
    """[…, D] → (x − centre) / scale, each feature by the training clips' mean and deviation.

    On some hundred clips this is worth several points over a norm within each step, which takes
    away how strong a feature is on the whole. Until `settle` is called it changes nothing.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def settle(self, parts: Iterable[Tensor]) -> None:
        """Take mean and deviation from vectors [N, D], given in parts; none: left as it is."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for part in parts:
            values = part.double()
            count += values.shape[0]
            total = total + values.sum(dim=0)
            squares = squares + values.square().sum(dim=0)
        if not count:
            return
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(deviation + _LEAST)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale


class Projection(nn.Module):
    """[B, T, D] → [B, T, n_out]: standardised, then one layer."""

    def __init__(self, n_features: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(n_features)
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_out), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.layer(self.standardise(x))
        return projected
