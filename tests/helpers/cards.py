"""Model cards."""

from __future__ import annotations

from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.checkpoints.model_card import ModelCard
from pipeline.storage.workspace import EncoderIdentity

IDENTITY = EncoderIdentity(
    name="efficientnet_lite0", weights_digest="0" * 16, n_features=1280, backend="torch-cpu",
    precision="float32",
)  # fmt: skip


def card(**changes) -> ModelCard:
    values = {
        "labels": ("a", "b"), "clip": ClipSettings(frame_size_px=224),
        "model": ModelSettings(modalities="both"), "encoder": IDENTITY,
    }  # fmt: skip
    return ModelCard(**values | changes)
