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

    def forward(self, logits: Tensor, targets: Tensor, positions: Tensor | None = None) -> Tensor:
        """logits and targets float [N, K], targets summing to 1 → weighted mean over the rows.

        positions is not used: rows do not depend on each other.
        """
        smoothed = (1 - self.smoothing) * targets + self.smoothing * self.uniform  # [B, K]
        # without torch's `weight`: it scales the smoothed targets too, which favours rare labels
        losses = nn.functional.cross_entropy(logits, smoothed, reduction="none")  # [B]
        weight = targets @ self.weights  # [B]
        mean: Tensor = (weight * losses).sum() / weight.sum()
        return mean


class SmoothedCrossEntropy(WeightedCrossEntropy):
    """The same, and a penalty on changes between neighbouring steps (Farha and Gall, 2019).

    The penalty is the mean squared difference of the log-probabilities of a step and the one
    before it, each at most 16. It reduces over-segmentation.
    """

    _LARGEST_CHANGE = 4.0

    def __init__(self, weights: list[float], smoothing: float, step_smoothing: float) -> None:
        super().__init__(weights, smoothing)
        self.step_smoothing = step_smoothing

    def forward(self, logits: Tensor, targets: Tensor, positions: Tensor | None = None) -> Tensor:
        """positions int64 [N]: rows whose positions differ by one are neighbouring steps; None: no
        rows are."""
        loss = super().forward(logits, targets)
        if not self.step_smoothing or positions is None:
            return loss
        follows = positions[1:] - positions[:-1] == 1  # [N − 1]
        log_p = logits.log_softmax(dim=-1)  # [N, K]
        # without a gradient for the earlier step, which would only be pulled towards the later one
        change = (log_p[1:] - log_p[:-1].detach())[follows].clamp(
            -self._LARGEST_CHANGE, self._LARGEST_CHANGE
        )
        if not change.numel():
            return loss
        return loss + self.step_smoothing * change.square().mean()
