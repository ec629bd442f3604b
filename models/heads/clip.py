"""One row of logits for each clip: pooling over time, dropout, one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from models.heads.base import Head
from models.pooling import MomentsPooling, Pooling, PoolingState, build_pooling
from models.settings import ModelSettings
from models.shapes import check_shape


class ClipHead(Head):
    """Pooled over the steps that are present; a clip with none of them gets a vector of zeros."""

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
    """The pooling that settings name for fused features; mean and deviation for one modality."""
    pooling: Pooling = (
        build_pooling(settings.resolved_readout, n_features)
        if fused
        else MomentsPooling(n_features, deviation=True)
    )
    return ClipHead(pooling, n_classes, settings.dropout)
