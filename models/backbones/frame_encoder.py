"""One backbone, the same weights for every frame: uint8 pictures in, one vector each out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.backbones import get_backbone
from models.shapes import check_shape


class FrameEncoder(nn.Module):
    """Normalisation and a CNN trunk without its classifier.

    The norms of the trunk always use their stored statistics, never the batch's, so a frame's
    vector depends on no other frame. Raises ValueError for an unknown name.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, trainable_blocks: int = 0) -> None:
        super().__init__()
        self.name = name
        self._backbone = get_backbone(name)
        self.trunk, self.n_features = self._backbone.build()
        mean, std = self._backbone.mean, self._backbone.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self.set_trainable(trainable_blocks)
        self.eval()

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load the CNN's state dict as its publisher ships it (classifier included or not).

        Raises ValueError naming what does not fit.
        """
        own = self._backbone.published(self.trunk)
        try:
            result = own.load_state_dict(dict(state), strict=False)
        except RuntimeError as error:  # a tensor of another size
            raise ValueError(f"these weights do not fit {self.name}: {error}") from error
        classifier = ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")
        strange = [key for key in result.unexpected_keys if not key.startswith(classifier)]
        if result.missing_keys or strange:
            keys = ", ".join([*result.missing_keys, *strange][:3])
            raise ValueError(f"these weights do not fit {self.name}: {keys} …")

    def set_trainable(self, trainable_blocks: int) -> None:
        """Freeze all but the last n blocks of the trunk."""
        self.requires_grad_(False)
        if trainable_blocks:
            for modules in self._backbone.blocks(self.trunk)[-trainable_blocks:]:
                for module in modules:
                    module.requires_grad_(True)

    def train(self, mode: bool = True) -> FrameEncoder:
        """Never leaves evaluation mode: batch statistics would tie frames to their neighbours."""
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
        pictures = (pictures - self.mean) / self.std
        features: Tensor = self.trunk(pictures.contiguous(memory_format=torch.channels_last))
        check_shape("frame features", features, (pictures.shape[0], self.n_features))
        return features
