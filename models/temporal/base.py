"""Base class of the temporal models, and padding helpers.

    fused [B, T, D], lengths [B] ──temporal model──▶ [B, T, units] ──head──▶ logits

A temporal model maps steps to steps. A step's output depends neither on padding nor on the other
clips in the batch; padded steps are zero in the output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from models.shapes import check_shape, length_mask

TemporalState = Any
"""State of a causal model between two chunks of a sequence; each model has its own type."""


class TemporalModel(nn.Module, ABC):
    """[B, T, D] and lengths [B] → [B, T, units]."""

    causal: bool = False
    """Whether a step's output depends on no later step, so that `forward_chunk` is available."""

    def __init__(self, n_features: int, n_units: int) -> None:
        super().__init__()
        self.n_features, self.n_units = n_features, n_units

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D], lengths [B] in 1…T → [B, T, units]. Raises ValueError for other shapes."""
        check_shape("input of the temporal model", x, ("B", "T", self.n_features))
        steps = self._all_steps(x, lengths)
        check_shape("output of the temporal model", steps, (x.shape[0], x.shape[1], self.n_units))
        return steps

    @abstractmethod
    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Implementation of `forward`, which checks the shapes."""

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        """The next steps [B, T, D] of sequences without padding → [B, T, units], new state.

        state is None for the first chunk. Raises TypeError if the model is not causal.
        """
        raise TypeError(f"{type(self).__name__} is not causal, so it cannot process chunks")


def zero_padding(steps: Tensor, lengths: Tensor) -> Tensor:
    """Steps [B, T, D] with those past each clip's length set to zero."""
    return steps * length_mask(lengths.to(steps.device), steps.shape[1])[:, :, None]  # [B, T, 1]


def reversed_in_length(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each clip's own steps; padding stays at the end. [B, T, D] → [B, T, D]."""
    position = torch.arange(x.shape[1], device=x.device)[None, :]  # [1, T]
    ends = lengths.to(x.device)[:, None]  # [B, 1]
    order = torch.where(position < ends, ends - 1 - position, position)  # [B, T]
    return x.gather(1, order[:, :, None].expand_as(x))  # gather needs an index as wide as x
