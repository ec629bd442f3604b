"""What a backbone is: a network that encodes a frame, and what others need to know of it.

Modules of backbones import torch inside their functions: what a backbone is called, takes and was
trained on is asked for before torch is loaded.
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
    """A network without its classifier: pictures in, one vector of features each out.

    mean, std: of red, green and blue in 0…1, as the weights were trained.
    """

    name: str
    input_size_px: int
    """Side of the pictures it was trained on."""
    licence: str
    build: Callable[[], tuple[nn.Module, int]]
    """The trunk, float [N, 3, H, W] normalised → [N, D], with fresh weights; and D. Raises
    ValueError where no such trunk can be made."""
    blocks: Callable[[nn.Module], list[list[nn.Module]]]
    """Parts of the trunk from input to output, for training only the last ones."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    weights_package: tuple[str, str] | None = None
    """Installed package and class whose get_model_file_path() names the file of weights."""
    torchvision_weights: bool = False
    """torchvision downloads weights of this name."""
    published: Callable[[nn.Module], nn.Module] = lambda trunk: trunk
    """The module of the trunk that a publisher's state dict belongs to."""
    runs_in_bfloat16: bool = False
    """Computed in bfloat16 where the processor has it, unless asked otherwise: its features were
    compared with those of float32."""
    float32_share: float = 0.25
    """Share of the convolutions, from the input on, that stay in float32 then."""


class BackboneFamily(Protocol):
    """Backbones of one source."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> Backbone | None:
        """None for a name that is not one of these."""
