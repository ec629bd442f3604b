"""Heads with one or several rows of logits for each valid time step: dropout, linear layer; and
with refinement stages (MS-TCN: Farha and Gall, 2019).

A refinement stage sees the class probabilities of the stage before alone, through dilated
convolutions with residual connections, and gives new ones; so it learns which classes follow each
other and for how long, which reduces over-segmentation:

    logits_0 = linear(features)
    x_0 = W softmax(logits_{s−1}),   x_l = x_{l−1} + V_l relu(K_l ∗ x_{l−1}),   logits_s = U x_L

K_l has three taps with dilation 2 ** (l − 1): six layers see 63 steps on either side. All stages
are trained by the same loss; the last one gives the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.heads.base import Head
from models.settings import ModelSettings
from models.shapes import check_shape

_CHANNELS, _LAYERS = 64, 6  # of a refinement stage


@dataclass(frozen=True)
class StepLogits:
    """First-stage logits of the steps so far [B, T, H · K]; valid: bool [B, T]."""

    logits: Tensor
    valid: Tensor
    refined: list[Tensor] = field(default_factory=list)
    """Those of further stages, once computed."""


class StepHead(Head):
    """Classifies each step; the rows of a batch are those of its clips, one after the other.

    rows_per_step: rows of logits for each step, one after the other; [B, T, units] → [B, T, H, K]
    flattened to [N, K], without padding.
    """

    def __init__(
        self, n_features: int, n_classes: int, dropout: float, rows_per_step: int = 1
    ) -> None:
        super().__init__()
        self.n_classes, self.rows_per_step = n_classes, rows_per_step
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(n_features, rows_per_step * n_classes)

    def update(
        self, state: StepLogits | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> StepLogits:
        logits = self.linear(self.dropout(features))  # [B, T, H · K]
        check_shape("logits", logits, (*valid.shape, self.rows_per_step * self.n_classes))
        if state is None:
            return StepLogits(logits, valid)
        return StepLogits(
            torch.cat([state.logits, logits], dim=1), torch.cat([state.valid, valid], dim=1)
        )

    def logits(self, state: StepLogits) -> Tensor:
        return self._rows(state.logits, state)

    def _rows(self, logits: Tensor, state: StepLogits) -> Tensor:
        """[B, T, H · K] → [N, K]."""
        return logits[state.valid].reshape(-1, self.n_classes)

    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        return present[valid].repeat_interleave(self.rows_per_step)


class RefinementStage(nn.Module):
    """Logits [B, T, K] → refined logits [B, T, K]; padded steps have no influence."""

    def __init__(self, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.into = nn.Conv1d(n_classes, _CHANNELS, 1)
        self.dilated = nn.ModuleList(
            nn.Conv1d(_CHANNELS, _CHANNELS, 3, padding=2**depth, dilation=2**depth)
            for depth in range(_LAYERS)
        )
        self.mixing = nn.ModuleList(nn.Conv1d(_CHANNELS, _CHANNELS, 1) for _ in range(_LAYERS))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Conv1d(_CHANNELS, n_classes, 1)

    def forward(self, logits: Tensor, valid: Tensor) -> Tensor:
        """logits [B, T, K], valid bool [B, T]."""
        inside = valid[:, None]  # [B, 1, T]
        x = self.into(logits.softmax(dim=-1).transpose(1, 2)) * inside  # [B, C, T]
        for dilated, mixing in zip(self.dilated, self.mixing, strict=True):
            x = (x + self.dropout(mixing(dilated(x).relu()))) * inside
        refined: Tensor = self.out(x).transpose(1, 2)  # [B, T, K]
        return refined


class RefinedStepHead(StepHead):
    """Classifies each step, and refines the classes of all steps of a clip together.

    Its rows are those of the last stage.
    """

    def __init__(self, n_features: int, n_classes: int, dropout: float, n_stages: int) -> None:
        """n_stages: after the first."""
        super().__init__(n_features, n_classes, dropout)
        self.stages = nn.ModuleList(RefinementStage(n_classes, dropout) for _ in range(n_stages))

    def logits(self, state: StepLogits) -> Tensor:
        return self._rows(self._refined(state)[-1], state)

    def earlier_logits(self, state: StepLogits) -> list[Tensor]:
        earlier = [state.logits, *self._refined(state)[:-1]]
        return [self._rows(logits, state) for logits in earlier]

    def _refined(self, state: StepLogits) -> list[Tensor]:
        """Logits of each further stage; computed once, since dropout would draw others."""
        if not state.refined:
            logits = state.logits
            for stage in self.stages:
                logits = stage(logits, state.valid)
                state.refined.append(logits)
        return state.refined


def build_step_head(
    settings: ModelSettings,
    n_features: int,
    n_classes: int,
    *,
    fused: bool,
    rows_per_step: int = 1,
) -> StepHead:
    """Build a head; model.refinement_stages, of one row per step, is of the fused one."""
    if fused and settings.refinement_stages:
        return RefinedStepHead(n_features, n_classes, settings.dropout, settings.refinement_stages)
    return StepHead(n_features, n_classes, settings.dropout, rows_per_step)
