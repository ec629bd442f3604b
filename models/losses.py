"""Losses for rows of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy with soft targets, label smoothing, and a weight per clip.

    A clip's weight is the mean of its labels' weights. A label of weight 0, which no training clip
    has, gets no share of the smoothing.
    """

    weights: Tensor
    uniform: Tensor

    def __init__(self, weights: list[float], smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        # smoothing towards labels without training clips would teach the network to predict them
        has_clips = (self.weights > 0).float()
        self.register_buffer("uniform", has_clips / has_clips.sum(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits and targets float [B, K], targets summing to 1 → weighted mean over the clips."""
        smoothed = (1 - self.smoothing) * targets + self.smoothing * self.uniform  # [B, K]
        # without torch's `weight`: it scales the smoothed targets too, which favours rare labels
        losses = nn.functional.cross_entropy(logits, smoothed, reduction="none")  # [B]
        weight = targets @ self.weights  # [B]
        mean: Tensor = (weight * losses).sum() / weight.sum()
        return mean
