"""Frame encoder: a backbone with its normalisation, uint8 frames to feature vectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.backbones import get_backbone
from models.shapes import check_shape


class FrameEncoder(nn.Module):
    """Normalisation and the trunk of a backbone, always in evaluation mode.

    Raises ValueError for an unknown name.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, trainable_blocks: int = 0) -> None:
        super().__init__()
        self.name = name
        self._backbone = get_backbone(name)
        self.trunk, self.n_features = self._backbone.build()
        mean, std = self._backbone.mean, self._backbone.std
        # not persistent: they belong to the backbone, not to its weights
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self.set_trainable(trainable_blocks)
        self.eval()

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load a published state dict of the network, with or without its classifier.

        Raises ValueError with the keys that do not fit.
        """
        network = self._backbone.published(self.trunk)
        try:
            result = network.load_state_dict(dict(state), strict=False)
        except RuntimeError as error:  # a tensor of another shape
            raise ValueError(f"these weights do not fit {self.name}: {error}") from error
        # classifiers and auxiliary classifiers of published networks, which the trunk lacks
        classifier = ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")
        unexpected = [key for key in result.unexpected_keys if not key.startswith(classifier)]
        if result.missing_keys or unexpected:
            keys = ", ".join([*result.missing_keys, *unexpected][:3])
            raise ValueError(f"these weights do not fit {self.name}: {keys} …")

    def set_trainable(self, trainable_blocks: int) -> None:
        """Freeze all but the last blocks of the trunk."""
        self.requires_grad_(False)
        if trainable_blocks:
            for modules in self._backbone.blocks(self.trunk)[-trainable_blocks:]:
                for module in modules:
                    module.requires_grad_(True)

    def train(self, mode: bool = True) -> FrameEncoder:
        """Stays in evaluation mode, even when its last blocks are trained."""
        # with batch statistics, a frame's features would depend on the other frames of the batch
        super().train(False)
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 [N, C, H, W] RGB → float [N, D]."""
        check_shape("frames", frames, ("N", 3, "H", "W"))
        if frames.dtype != torch.uint8:
            raise ValueError(f"frames must be uint8, got {frames.dtype}")
        return self.encode(frames.to(self.mean.dtype))

    def encode(self, pictures: Tensor) -> Tensor:
        """float [N, C, H, W] RGB in 0…255 → float [N, D]."""
        pictures = (pictures - self.mean) / self.std  # [N, 3, H, W]
        # channels_last is faster for convolutions
        features: Tensor = self.trunk(pictures.contiguous(memory_format=torch.channels_last))
        check_shape("frame features", features, (pictures.shape[0], self.n_features))
        return features
