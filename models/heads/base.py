"""What a head does: features of every time step in, rows of logits out.

    temporal model [B, T, units] ──head──▶ logits [N, K]

A head gives one row for each clip, or one for each valid step, clip after clip. Everything behind
it (loss, choice of epoch, calibration) works on rows and needs not know which. Each works on whole
clips or on successive chunks of one: `update` takes a chunk into a state, `logits` reads it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from torch import Tensor, nn

from models.settings import ModelSettings

HeadState = Any
"""What a head carries from one chunk of a clip to the next; each head has its own."""


class Head(nn.Module, ABC):
    """Features [B, T, D], valid bool [B, T] and present bool [B, T] → logits [N, K].

    valid: steps inside the clip. present: those of them in which the modality is there; the same as
    `valid` for the fused features, which have a learned embedding in the place of a missing one.
    """

    def forward(self, features: Tensor, valid: Tensor, present: Tensor) -> Tensor:
        return self.logits(self.update(None, features, valid, present))

    @abstractmethod
    def update(
        self, state: HeadState | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> HeadState:
        """The state after these further steps; None before the first."""

    @abstractmethod
    def logits(self, state: HeadState) -> Tensor:
        """State → [N, K]."""

    @abstractmethod
    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        """bool [N]: the rows of logits for which the modality is there."""


class BuildHead(Protocol):
    """Makes a head; fused: of the temporal model's output, else of one modality's features."""

    def __call__(
        self, settings: ModelSettings, n_features: int, n_classes: int, *, fused: bool
    ) -> Head: ...
