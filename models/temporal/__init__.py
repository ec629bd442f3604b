"""Temporal models: one vector per time step in, one per time step out."""

from __future__ import annotations

from importlib import import_module

from models.settings import TEMPORAL_MODELS, ModelSettings
from models.temporal.base import HistoryModel, TemporalModel


def build_temporal_model(
    settings: ModelSettings, n_features: int, history_steps: int | None = None
) -> TemporalModel:
    """The temporal model that settings name, with fresh weights, for steps of n_features.

    history_steps: number of steps that an output depends on, itself included; None: all before.
    """
    module = import_module(f"models.temporal.{TEMPORAL_MODELS[settings.head]}")
    model: TemporalModel = module.build(settings, n_features)
    return model if history_steps is None else HistoryModel(model, history_steps)
