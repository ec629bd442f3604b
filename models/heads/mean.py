"""The head that ignores time: each step by itself. With the mean as read-out, a bag of frames."""

from __future__ import annotations

from torch import Tensor, nn

from models.heads.contract import HeadState, TemporalHead, zero_padding


class StepwiseHead(TemporalHead):
    """One layer on each step alone."""

    causal = True

    def __init__(self, n_features: int, n_units: int) -> None:
        super().__init__(n_features, n_units)
        self.layer = nn.Sequential(nn.Linear(n_features, n_units), nn.GELU())

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        return zero_padding(self.layer(x), lengths)

    def advance(self, x: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        return self.layer(x), None
