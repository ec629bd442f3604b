"""Head with one or several rows of logits for each valid time step: dropout, linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heads.base import Head
from models.settings import ModelSettings
from models.shapes import check_shape


class StepHead(Head):
    """Classifies each step; the rows of a batch are those of its clips, one after the other.

    rows_per_step: rows of logits for each step, one after the other; [B, T, units] → [B, T, H, K]
    flattened to [N, K], without padding. Its state is the features [N, D] of the steps so far,
    since rows are wanted for all of them.
    """

    def __init__(
        self, n_features: int, n_classes: int, dropout: float, rows_per_step: int = 1
    ) -> None:
        super().__init__()
        self.n_classes, self.rows_per_step = n_classes, rows_per_step
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(n_features, rows_per_step * n_classes)

    def update(
        self, state: Tensor | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> Tensor:
        rows = features[valid]  # [N, D]
        return rows if state is None else torch.cat([state, rows])

    def logits(self, state: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(state))  # [N, H · K]
        check_shape("logits", logits, (state.shape[0], self.rows_per_step * self.n_classes))
        return logits.reshape(-1, self.n_classes)

    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        return present[valid].repeat_interleave(self.rows_per_step)


def build_step_head(
    settings: ModelSettings,
    n_features: int,
    n_classes: int,
    *,
    fused: bool,
    rows_per_step: int = 1,
) -> StepHead:
    """Build a head; fused and unimodal heads are alike."""
    return StepHead(n_features, n_classes, settings.dropout, rows_per_step)
