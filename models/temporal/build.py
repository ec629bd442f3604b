"""The head that settings name."""

from __future__ import annotations

from collections.abc import Callable

from models.settings import ModelSettings
from models.temporal.base import StepwiseModel, TemporalModel
from models.temporal.dilated import DilatedModel
from models.temporal.recurrent import Cell, CellModel, GruCell, LstmCell, RecurrentModel

_CELLS: dict[str, Callable[[int, int, bool, float], Cell]] = {
    "layer_norm_gru": GruCell,
    "layer_norm_lstm": LstmCell,
}


def build_temporal_model(settings: ModelSettings, n_features: int) -> TemporalModel:
    """A fresh head for fused steps of `n_features`."""
    units, layers = settings.head_units, settings.head_layers
    if settings.head == "mean":
        return StepwiseModel(n_features, units)
    if settings.head == "dilated":
        return DilatedModel(n_features, units, layers, settings.dropout)
    if settings.head in _CELLS:
        return CellModel(
            _CELLS[settings.head], n_features, units, layers, settings.bidirectional,
            between=settings.dropout, at_steps=settings.step_dropout,
        )  # fmt: skip
    return RecurrentModel(
        settings.head, n_features, units, layers, settings.bidirectional, settings.dropout
    )
