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


_WINDOWS_AT_ONCE = 512  # bounds the memory of long clips


class HistoryModel(TemporalModel):
    """Runs a causal temporal model on a window of n_steps that ends with each step.

    So a step's output depends on the n_steps − 1 steps before it, and the model starts from its
    zero state as it does in training.
    """

    causal = True

    def __init__(self, inner: TemporalModel, n_steps: int) -> None:
        """Raises ValueError if the inner model is not causal."""
        super().__init__(inner.n_features, inner.n_units)
        if not inner.causal:
            raise ValueError("a limited history needs a causal temporal model")
        self.inner, self.n_steps = inner, n_steps

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        if x.shape[1] <= self.n_steps:  # every window begins with the clip
            steps: Tensor = self.inner(x, lengths)
            return steps
        ends = torch.arange(1, x.shape[1] + 1, device=x.device)  # [T]
        starts = (ends - self.n_steps).clamp(min=0)
        place = starts[:, None] + torch.arange(self.n_steps, device=x.device)  # [T, n_steps]
        place = place.clamp(max=x.shape[1] - 1)
        of_clips = [self._of_windows(clip, place, ends - starts) for clip in x]
        return zero_padding(torch.stack(of_clips), lengths)

    def _of_windows(self, clip: Tensor, place: Tensor, lengths: Tensor) -> Tensor:
        """The last output of each window of a clip [T, D] → [T, units]."""
        outputs = []
        for first in range(0, place.shape[0], _WINDOWS_AT_ONCE):
            rows = slice(first, first + _WINDOWS_AT_ONCE)
            steps = self.inner(clip[place[rows]], lengths[rows])  # [n, n_steps, units]
            last = lengths[rows] - 1
            outputs.append(steps[torch.arange(last.shape[0], device=last.device), last])
        return torch.cat(outputs)

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        before = x[:, :0] if state is None else state  # [B, up to n_steps − 1, D]
        joined = torch.cat([before, x], dim=1)
        lengths = torch.full((x.shape[0],), joined.shape[1], device=x.device)
        steps = self._all_steps(joined, lengths)[:, before.shape[1] :]
        return steps, joined[:, max(0, joined.shape[1] - self.n_steps + 1) :]


def zero_padding(steps: Tensor, lengths: Tensor) -> Tensor:
    """Steps [B, T, D] with those past each clip's length set to zero."""
    return steps * length_mask(lengths.to(steps.device), steps.shape[1])[:, :, None]  # [B, T, 1]


def reversed_in_length(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each clip's own steps; padding stays at the end. [B, T, D] → [B, T, D]."""
    position = torch.arange(x.shape[1], device=x.device)[None, :]  # [1, T]
    ends = lengths.to(x.device)[:, None]  # [B, 1]
    order = torch.where(position < ends, ends - 1 - position, position)  # [B, T]
    return x.gather(1, order[:, :, None].expand_as(x))  # gather needs an index as wide as x
