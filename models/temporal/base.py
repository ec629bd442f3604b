"""What every temporal head does, and what only causal ones can.

    fused [B, T, D], lengths [B] ──head──▶ [B, T, units] ──read-out──▶ [B, D']

A head gives one vector per step; making one vector of a clip is the read-out's (readout.py).
A step's output depends on no step past the clip's length and on no neighbour in the batch; steps
past the length come out as zero.

The head that ignores time: each step by itself. With the mean as read-out, a bag of frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from models.shapes import check_shape, length_mask

TemporalState = Any
"""What a causal head carries from one part of a sequence to the next; each head has its own."""


class TemporalModel(nn.Module, ABC):
    """[B, T, D] and lengths → [B, T, units]."""

    causal: bool
    """Whether a step's output depends on earlier steps only, so that `advance` may be used."""

    def __init__(self, n_features: int, n_units: int) -> None:
        super().__init__()
        self.n_features, self.n_units = n_features, n_units

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D], lengths [B] in 1…T → [B, T, units]. Raises ValueError for other shapes."""
        check_shape("temporal head's input", x, ("B", "T", self.n_features))
        steps = self._all_steps(x, lengths)
        check_shape("temporal head's output", steps, (x.shape[0], x.shape[1], self.n_units))
        return steps

    @abstractmethod
    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The work itself; shapes are checked around it."""

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        """The next steps [B, T, D] of sequences without padding → [B, T, units], and the state.

        Raises TypeError where the head is not causal.
        """
        raise TypeError(f"{type(self).__name__} looks ahead and cannot go step by step")


def zero_padding(steps: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, D] with steps past each clip's length set to zero."""
    return steps * length_mask(lengths.to(steps.device), steps.shape[1])[:, :, None]


def reversed_in_length(x: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, D]: each clip's own steps back to front, padding where it was."""
    place = torch.arange(x.shape[1], device=x.device)[None, :]
    ends = lengths.to(x.device)[:, None]
    order = torch.where(place < ends, ends - 1 - place, place)
    return x.gather(1, order[:, :, None].expand_as(x))
