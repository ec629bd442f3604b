"""Interface of a head: features of the time steps in, rows of logits out.

    temporal model [B, T, units] ──head──▶ logits [N, K]

A head gives one row for each clip, or one for each valid step, clip after clip. Everything after
it (loss, choice of epoch, calibration) works on rows and does not depend on which. A head works on
whole clips or on successive chunks of a clip: `update` adds a chunk to a state, from which `logits`
computes the rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from torch import Tensor, nn

from models.settings import ModelSettings

HeadState = Any
"""State between the chunks of a clip; its type depends on the head."""


class Head(nn.Module, ABC):
    """Features [B, T, D], valid bool [B, T] and present bool [B, T] → logits [N, K].

    valid: steps inside the clip. present: valid steps that have the modality; the same as `valid`
    for fused features, in which a missing modality is replaced by a learned embedding.
    """

    def forward(self, features: Tensor, valid: Tensor, present: Tensor) -> Tensor:
        return self.logits(self.update(None, features, valid, present))

    @abstractmethod
    def update(
        self, state: HeadState | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> HeadState:
        """The state after these further steps; state is None for the first chunk."""

    @abstractmethod
    def logits(self, state: HeadState) -> Tensor:
        """State → [N, K]."""

    def earlier_logits(self, state: HeadState) -> list[Tensor]:
        """Of a head in stages, the logits [N, K] of all but the last, which have a loss too."""
        return []

    @abstractmethod
    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        """bool [N]: rows of logits whose clip or step has the modality."""

    def logits_after(self, state: HeadState, given: Tensor) -> Tensor:
        """`logits` of a decoder after classes that are given, int64 [B, L] padded with −1."""
        return self.logits(state)

    def rows_present_after(self, valid: Tensor, present: Tensor, given: Tensor) -> Tensor:
        """`rows_present` of the rows of `logits_after`."""
        return self.rows_present(valid, present)


class BuildHead(Protocol):
    """Factory of heads; fused: for the temporal model's output, else for one modality."""

    def __call__(
        self, settings: ModelSettings, n_features: int, n_classes: int, *, fused: bool
    ) -> Head: ...
