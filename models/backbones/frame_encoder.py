"""One CNN, the same weights for every frame: uint8 pictures in, one vector each out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones.efficientnet_lite import LITE_MEAN, LITE_STD, LITE_VARIANTS, EfficientNetLite
from models.shapes import check_shape

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCHVISION_SIZE_PX = 224
_NOT_CNN = ("vit_", "swin_", "maxvit")


def _torchvision_models() -> Any:
    """Imported only where it is asked for: it takes longer to load than torch itself."""
    from torchvision import models

    return models


def is_encoder_name(name: str) -> bool:
    """Whether `FrameEncoder` takes this name."""
    return name in LITE_VARIANTS or name in encoder_names()


def encoder_names() -> list[str]:
    """Names `FrameEncoder` takes."""
    listed = _torchvision_models().list_models(module=_torchvision_models())
    return [*LITE_VARIANTS, *(name for name in listed if not name.startswith(_NOT_CNN))]


def native_size_px(name: str) -> int:
    """Side of the pictures the encoder was trained on."""
    if name in LITE_VARIANTS:
        return LITE_VARIANTS[name][1]
    weights = _torchvision_models().get_model_weights(name).DEFAULT
    return int(getattr(weights.transforms(), "crop_size", [_TORCHVISION_SIZE_PX])[0])


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
        if name in LITE_VARIANTS:
            self.trunk: nn.Module = EfficientNetLite(name)
            self.n_features = self.trunk.n_features
            mean, std = (LITE_MEAN,) * 3, (LITE_STD,) * 3
        else:
            self.trunk, self.n_features = _torchvision_trunk(name)
            mean, std = _IMAGENET_MEAN, _IMAGENET_STD
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self.set_trainable(trainable_blocks)
        self.eval()

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load the CNN's state dict as its publisher ships it (classifier included or not).

        Raises ValueError naming what does not fit.
        """
        own = self.trunk.net if isinstance(self.trunk, EfficientNetLite) else self.trunk
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
            for modules in _blocks(self.trunk)[-trainable_blocks:]:
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


def _torchvision_trunk(name: str) -> tuple[nn.Module, int]:
    """A torchvision CNN whose last linear layer is taken off, and the width it had as input."""
    if not is_encoder_name(name):
        raise ValueError(f"model.frame_encoder '{name}' is no known CNN")
    options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if options:
        options |= {"init_weights": False}
    trunk: nn.Module = _torchvision_models().get_model(name, weights=None, **options)
    linear = [key for key, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"model.frame_encoder '{name}' ends in no linear layer to take off")
    parent_name, _, child = linear[-1].rpartition(".")
    parent = trunk.get_submodule(parent_name)
    n_features = int(getattr(parent, child).in_features)
    setattr(parent, child, nn.Identity())
    return trunk, n_features


def _blocks(trunk: nn.Module) -> list[list[nn.Module]]:
    if isinstance(trunk, EfficientNetLite):
        return trunk.blocks()
    features = getattr(trunk, "features", None)
    children = list((features if isinstance(features, nn.Module) else trunk).children())
    return [[child] for child in children if any(True for _ in child.parameters())]
