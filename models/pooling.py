"""From a sequence to one vector: last valid step, mean, mean and deviation, attention.

Each works on a whole clip or on successive parts of it: `update` takes the next part into a small
state, `result` makes the vector. So a clip of any length needs the memory of one part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from models.shapes import check_shape

PoolingState = tuple[Tensor, ...]

_EPSILON = 1e-6  # keeps the slope of a deviation of zero finite


class Pooling(nn.Module, ABC):
    """Steps [B, T, D] and bool [B, T], which of them count → [B, n_out].

    Where no step of a clip counts, its vector is zero.
    """

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        self.n_features, self.n_out = n_features, n_out

    def forward(self, steps: Tensor, counts: Tensor) -> Tensor:
        """The vector of whole clips. Raises ValueError for other shapes."""
        return self.result(self.update(None, steps, counts))

    def update(self, state: PoolingState | None, steps: Tensor, counts: Tensor) -> PoolingState:
        """The state after these further steps; None before the first."""
        check_shape("steps", steps, ("B", "T", self.n_features))
        check_shape("counts", counts, (steps.shape[0], steps.shape[1]))
        return self._update(self._begin(steps) if state is None else state, steps, counts)

    @abstractmethod
    def _begin(self, like: Tensor) -> PoolingState:
        """The state before any step."""

    @abstractmethod
    def _update(self, state: PoolingState, steps: Tensor, counts: Tensor) -> PoolingState: ...

    @abstractmethod
    def result(self, state: PoolingState) -> Tensor:
        """State → [B, n_out]."""


class LastStepPooling(Pooling):
    """The output at each clip's own last step that counts."""

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features, n_features)

    def _begin(self, like: Tensor) -> PoolingState:
        return (like.new_zeros(like.shape[0], self.n_features),)

    def _update(self, state: PoolingState, steps: Tensor, counts: Tensor) -> PoolingState:
        place = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        last = (place * counts).amax(dim=1)  # [B], 0 where none counts
        found = steps[torch.arange(steps.shape[0], device=steps.device), (last - 1).clamp(min=0)]
        return (torch.where((last > 0)[:, None], found, state[0]),)

    def result(self, state: PoolingState) -> Tensor:
        return state[0]


class MomentsPooling(Pooling):
    """Mean over the steps, and with `deviation` also the standard deviation: [B, D] or [B, 2 D].

    Parts are joined by Chan, Golub and LeVeque's formula (1979), so nothing cancels out.
    """

    def __init__(self, n_features: int, deviation: bool) -> None:
        super().__init__(n_features, n_features * (2 if deviation else 1))
        self.deviation = deviation

    def _begin(self, like: Tensor) -> PoolingState:
        zeros = like.new_zeros(like.shape[0], self.n_features)
        return like.new_zeros(like.shape[0], 1), zeros, zeros

    def _update(self, state: PoolingState, steps: Tensor, counts: Tensor) -> PoolingState:
        n_before, mean_before, squares_before = state
        weight = counts[:, :, None].to(steps.dtype)
        n = weight.sum(dim=1)  # [B, 1]
        mean = (steps * weight).sum(dim=1) / n.clamp(min=1)
        squares = ((steps - mean[:, None]).square() * weight).sum(dim=1)
        total = (n_before + n).clamp(min=1)
        apart = mean - mean_before
        return (
            n_before + n,
            mean_before + apart * n / total,
            squares_before + squares + apart.square() * n_before * n / total,
        )

    def result(self, state: PoolingState) -> Tensor:
        n, mean, squares = state
        if not self.deviation:
            return mean
        deviation = (squares / n.clamp(min=1) + _EPSILON).sqrt() - _EPSILON**0.5
        return torch.cat([mean, deviation], dim=-1)


class AttentionPooling(Pooling):
    """A weighted mean; each step's weight is the softmax of a learned score (Lin et al., 2017).

    Over parts the softmax is kept as the largest score so far, and sums relative to it.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features, n_features)
        self.score = nn.Sequential(nn.Linear(n_features, n_features), nn.Tanh())
        self.weigh = nn.Linear(n_features, 1)

    def _begin(self, like: Tensor) -> PoolingState:
        lowest = like.new_full((like.shape[0], 1), torch.finfo(like.dtype).min)
        return (
            lowest,
            like.new_zeros(like.shape[0], 1),
            like.new_zeros(like.shape[0], like.shape[2]),
        )

    def _update(self, state: PoolingState, steps: Tensor, counts: Tensor) -> PoolingState:
        largest, total, summed = state
        scores = self.weigh(self.score(steps))[:, :, 0]
        scores = scores.masked_fill(~counts, torch.finfo(steps.dtype).min)  # [B, T]
        now = torch.maximum(largest, scores.amax(dim=1, keepdim=True))
        weights = (scores - now).exp() * counts
        before = (largest - now).exp()
        return (
            now,
            total * before + weights.sum(dim=1, keepdim=True),
            summed * before + torch.einsum("bt,btd->bd", weights, steps),
        )

    def result(self, state: PoolingState) -> Tensor:
        _, total, summed = state
        return summed / torch.where(total > 0, total, torch.ones_like(total))


def build_pooling(name: str, n_features: int) -> Pooling:
    """last, mean, deviation (mean and deviation) or attention."""
    if name == "last":
        return LastStepPooling(n_features)
    if name == "attention":
        return AttentionPooling(n_features)
    return MomentsPooling(n_features, deviation=name == "deviation")
