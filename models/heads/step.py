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
    flattened to [N, K], without padding. Its state is the rows so far, which take less memory than
    the features of their steps.
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
        steps = features[valid]  # [number of steps, D]
        logits = self.linear(self.dropout(steps))  # [number of steps, H · K]
        check_shape("logits", logits, (steps.shape[0], self.rows_per_step * self.n_classes))
        rows: Tensor = logits.reshape(-1, self.n_classes)  # [N, K]
        return rows if state is None else torch.cat([state, rows])

    def logits(self, state: Tensor) -> Tensor:
        return state

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
