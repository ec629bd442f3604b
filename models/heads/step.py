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

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.heads.base import Head
from models.settings import ModelSettings
from models.shapes import check_shape

_CHANNELS, _LAYERS = 64, 6  # of a refinement stage


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


@dataclass(frozen=True)
class StepLogits:
    """First-stage logits of the steps so far [B, T, K]; valid: bool [B, T]."""

    logits: Tensor
    valid: Tensor


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


class RefinedStepHead(Head):
    """Classifies each step, and refines the classes of all steps of a clip together.

    Its rows are those of the last stage, [N, K], clip after clip, without padding.
    """

    def __init__(self, n_features: int, n_classes: int, dropout: float, n_stages: int) -> None:
        """n_stages: after the first."""
        super().__init__()
        self.n_classes = n_classes
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(n_features, n_classes)
        self.stages = nn.ModuleList(RefinementStage(n_classes, dropout) for _ in range(n_stages))

    def update(
        self, state: StepLogits | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> StepLogits:
        logits = self.linear(self.dropout(features))  # [B, T, K]
        check_shape("logits", logits, (*valid.shape, self.n_classes))
        if state is None:
            return StepLogits(logits, valid)
        return StepLogits(
            torch.cat([state.logits, logits], dim=1), torch.cat([state.valid, valid], dim=1)
        )

    def logits(self, state: StepLogits) -> Tensor:
        return self._rows(state, len(self.stages))[-1]

    def earlier_logits(self, state: StepLogits) -> list[Tensor]:
        return self._rows(state, len(self.stages) - 1)

    def _rows(self, state: StepLogits, n_stages: int) -> list[Tensor]:
        """Rows [N, K] of the first stage and of n_stages further ones."""
        logits, found = state.logits, [state.logits]
        for stage in list(self.stages)[:n_stages]:
            logits = stage(logits, state.valid)
            found.append(logits)
        return [each[state.valid] for each in found]

    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        return present[valid]


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


def build_refined_step_head(
    settings: ModelSettings, n_features: int, n_classes: int, *, fused: bool
) -> Head:
    """Build a head; model.refinement_stages is of the fused one, after which there is none."""
    if not fused or not settings.refinement_stages:
        return StepHead(n_features, n_classes, settings.dropout)
    return RefinedStepHead(n_features, n_classes, settings.dropout, settings.refinement_stages)
