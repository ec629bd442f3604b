"""The head that settings name."""

from __future__ import annotations

from collections.abc import Callable

from models.heads.cells import Cell, CellHead, GruCell, LstmCell
from models.heads.contract import TemporalHead
from models.heads.dilated import DilatedHead
from models.heads.mean import StepwiseHead
from models.heads.recurrent import RecurrentHead
from models.settings import ModelSettings

_CELLS: dict[str, Callable[[int, int, bool, float], Cell]] = {
    "layer_norm_gru": GruCell,
    "layer_norm_lstm": LstmCell,
}


def build_head(settings: ModelSettings, n_features: int) -> TemporalHead:
    """A fresh head for fused steps of `n_features`."""
    units, layers = settings.head_units, settings.head_layers
    if settings.head == "mean":
        return StepwiseHead(n_features, units)
    if settings.head == "dilated":
        return DilatedHead(n_features, units, layers, settings.dropout)
    if settings.head in _CELLS:
        return CellHead(
            _CELLS[settings.head], n_features, units, layers, settings.bidirectional,
            between=settings.dropout, at_steps=settings.step_dropout,
        )  # fmt: skip
    return RecurrentHead(
        settings.head, n_features, units, layers, settings.bidirectional, settings.dropout
    )
