"""Losses over rows of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy over shares of labels, smoothed; each clip counts for what its labels weigh.

    The weight belongs to the clip, not to the label that is predicted: torch's own weights multiply
    the smoothed targets too, and a label that few clips have is then named for all of them. A label
    of weight 0, which no training clip has, gets no share of the smoothing.
    """

    weights: Tensor
    even: Tensor

    def __init__(self, weights: list[float], smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        there = (self.weights > 0).float()
        self.register_buffer("even", there / there.sum(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits and targets float [B, K], targets sum to one → mean over the clips' weights."""
        smoothed = (1 - self.smoothing) * targets + self.smoothing * self.even
        losses = nn.functional.cross_entropy(logits, smoothed, reduction="none")
        weight = targets @ self.weights
        mean: Tensor = (weight * losses).sum() / weight.sum()
        return mean
