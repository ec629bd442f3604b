"""Head with one row of logits per clip: pooling over time, dropout, linear layer.

Poolings: last valid step, mean, mean and standard deviation, or attention. Each works on a whole
clip or incrementally on its chunks: `update` adds the next chunk to a small state, `result` returns
the pooled vector. A clip of any length needs the memory of one chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from models.heads.base import Head
from models.settings import ModelSettings
from models.shapes import check_shape

PoolingState = tuple[Tensor, ...]

_EPSILON = 1e-6  # keeps the gradient of a zero standard deviation finite


class Pooling(nn.Module, ABC):
    """Steps [B, T, D] and `mask` bool [B, T] → [B, n_out].

    The vector of a clip without a valid step is zero.
    """

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        self.n_features, self.n_out = n_features, n_out

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """Pool whole clips. Raises ValueError for other shapes."""
        return self.result(self.update(None, steps, mask))

    def update(self, state: PoolingState | None, steps: Tensor, mask: Tensor) -> PoolingState:
        """The state after the next chunk of steps; state is None for the first chunk."""
        check_shape("steps", steps, ("B", "T", self.n_features))
        check_shape("mask", mask, (steps.shape[0], steps.shape[1]))
        return self._update(self._initial_state(steps) if state is None else state, steps, mask)

    @abstractmethod
    def _initial_state(self, like: Tensor) -> PoolingState:
        """The state before the first step; batch size, dtype and device as `like`."""

    @abstractmethod
    def _update(self, state: PoolingState, steps: Tensor, mask: Tensor) -> PoolingState: ...

    @abstractmethod
    def result(self, state: PoolingState) -> Tensor:
        """State → [B, n_out]."""


class LastStepPooling(Pooling):
    """The last valid step of each clip."""

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features, n_features)

    def _initial_state(self, like: Tensor) -> PoolingState:
        return (like.new_zeros(like.shape[0], self.n_features),)

    def _update(self, state: PoolingState, steps: Tensor, mask: Tensor) -> PoolingState:
        position = torch.arange(1, steps.shape[1] + 1, device=steps.device)  # [T], from 1
        last = (position * mask).amax(dim=1)  # [B], 0 without a valid step
        batch = torch.arange(steps.shape[0], device=steps.device)
        vectors = steps[batch, (last - 1).clamp(min=0)]  # [B, D]
        return (torch.where((last > 0)[:, None], vectors, state[0]),)

    def result(self, state: PoolingState) -> Tensor:
        return state[0]


class MomentsPooling(Pooling):
    """Mean, and with `deviation` also the standard deviation, over the steps: [B, D] or [B, 2 D].

    Chunks are merged with the formula of Chan, Golub and LeVeque (1979), which avoids the
    cancellation of a difference of large sums.
    """

    def __init__(self, n_features: int, deviation: bool) -> None:
        super().__init__(n_features, n_features * (2 if deviation else 1))
        self.deviation = deviation

    def _initial_state(self, like: Tensor) -> PoolingState:
        zeros = like.new_zeros(like.shape[0], self.n_features)
        return like.new_zeros(like.shape[0], 1), zeros, zeros

    def _update(self, state: PoolingState, steps: Tensor, mask: Tensor) -> PoolingState:
        n_before, mean_before, squares_before = state  # [B, 1], [B, D], [B, D]
        weight = mask[:, :, None].to(steps.dtype)  # [B, T, 1]
        n = weight.sum(dim=1)  # [B, 1]
        mean = (steps * weight).sum(dim=1) / n.clamp(min=1)  # [B, D]
        squares = ((steps - mean[:, None]).square() * weight).sum(dim=1)  # [B, D]
        total = (n_before + n).clamp(min=1)
        delta = mean - mean_before
        return (
            n_before + n,
            mean_before + delta * n / total,
            squares_before + squares + delta.square() * n_before * n / total,
        )

    def result(self, state: PoolingState) -> Tensor:
        n, mean, squares = state
        if not self.deviation:
            return mean
        # the subtraction makes the deviation of a constant feature exactly zero again
        deviation = (squares / n.clamp(min=1) + _EPSILON).sqrt() - _EPSILON**0.5
        return torch.cat([mean, deviation], dim=-1)  # [B, 2 D]


class AttentionPooling(Pooling):
    """Mean weighted by the softmax over time of a learned score per step (Lin et al., 2017).

    Over chunks this is an online softmax: the state is the largest score so far, and the sums of
    weights and of weighted steps relative to it.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features, n_features)
        self.score = nn.Sequential(nn.Linear(n_features, n_features), nn.Tanh())
        self.weigh = nn.Linear(n_features, 1)

    def _initial_state(self, like: Tensor) -> PoolingState:
        # not −inf, whose difference from itself is NaN in clips without a valid step
        lowest = like.new_full((like.shape[0], 1), torch.finfo(like.dtype).min)
        return (
            lowest,
            like.new_zeros(like.shape[0], 1),
            like.new_zeros(like.shape[0], like.shape[2]),
        )

    def _update(self, state: PoolingState, steps: Tensor, mask: Tensor) -> PoolingState:
        largest, total, summed = state
        scores = self.weigh(self.score(steps))[:, :, 0]  # [B, T]
        scores = scores.masked_fill(~mask, torch.finfo(steps.dtype).min)
        maximum = torch.maximum(largest, scores.amax(dim=1, keepdim=True))  # [B, 1]
        weights = (scores - maximum).exp() * mask  # masked: exp(0) = 1 where no step is valid
        rescale = (largest - maximum).exp()  # sums so far, relative to the new maximum
        return (
            maximum,
            total * rescale + weights.sum(dim=1, keepdim=True),
            summed * rescale + torch.einsum("bt,btd->bd", weights, steps),
        )

    def result(self, state: PoolingState) -> Tensor:
        _, total, summed = state
        return summed / torch.where(total > 0, total, torch.ones_like(total))


def build_pooling(name: str, n_features: int) -> Pooling:
    """The pooling of this name: last, mean, deviation (mean and deviation) or attention."""
    if name == "last":
        return LastStepPooling(n_features)
    if name == "attention":
        return AttentionPooling(n_features)
    return MomentsPooling(n_features, deviation=name == "deviation")


class ClipHead(Head):
    """Pools the steps that are present, and classifies; without such steps it pools zeros."""

    def __init__(self, pooling: Pooling, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(pooling.n_out, n_classes)

    def update(
        self, state: PoolingState | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> PoolingState:
        return self.pooling.update(state, features, present)

    def logits(self, state: PoolingState) -> Tensor:
        pooled = self.pooling.result(state)  # [B, D]
        logits: Tensor = self.linear(self.dropout(pooled))  # [B, K]
        check_shape("logits", logits, (pooled.shape[0], self.n_classes))
        return logits

    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        return present.any(dim=1)


def build_clip_head(
    settings: ModelSettings, n_features: int, n_classes: int, *, fused: bool
) -> ClipHead:
    """Build a head: the pooling of the settings if fused, else mean and standard deviation."""
    pooling: Pooling = (
        build_pooling(settings.resolved_readout, n_features)
        if fused
        else MomentsPooling(n_features, deviation=True)
    )
    return ClipHead(pooling, n_classes, settings.dropout)
