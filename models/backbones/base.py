"""Interface of a backbone: a network that encodes images, and its metadata.

Modules of backbones import torch inside their functions, since the metadata are needed before torch
is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier: images to feature vectors.

    mean, std: normalisation of red, green and blue in 0…1 that the weights were trained with.
    """

    name: str
    input_size_px: int  # side of the square images it was trained on
    licence: str
    build: Callable[[], tuple[nn.Module, int]]
    """() → (trunk with random weights, D); the trunk maps normalised float [N, 3, H, W] → [N, D].
    Raises ValueError if the network has no such trunk."""
    blocks: Callable[[nn.Module], list[list[nn.Module]]]
    """Blocks of the trunk from input to output, for fine-tuning the last ones."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    weights_package: tuple[str, str] | None = None
    """Installed package, and its class whose get_model_file_path() returns the weights file."""
    torchvision_weights: bool = False  # whether torchvision can download weights with this name
    published: Callable[[nn.Module], nn.Module] = lambda trunk: trunk
    """The submodule of the trunk that the published state dict belongs to."""
    runs_in_bfloat16: bool = False
    """Whether bfloat16 is the default in OpenVINO on CPUs with AMX: for networks whose features
    were compared with those in float32."""
    relative_cost: float = 1.0
    """Time per image relative to efficientnet_lite2, for estimates."""
    float32_share: float = 0.25
    """Share of the convolutions, from the input on, that stay in float32 nevertheless."""


class BackboneFamily(Protocol):
    """Backbones from one source."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> Backbone | None:
        """The backbone with this name, or None if the family has none."""
