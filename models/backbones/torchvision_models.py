"""Classification networks of torchvision, convolutional ones and transformers."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from models.backbones.base import Backbone

if TYPE_CHECKING:
    from torch import nn

_USUAL_SIZE_PX = 224  # if the weights' transforms do not name a crop size


class TorchvisionFamily:
    def names(self) -> list[str]:
        return _names()

    def get(self, name: str) -> Backbone | None:
        if name not in _names():
            return None
        weights = _torchvision_models().get_model_weights(name).DEFAULT
        size_px = getattr(weights.transforms(), "crop_size", [_USUAL_SIZE_PX])[0]
        return Backbone(
            name,
            int(size_px),
            licence="BSD-3-Clause (weights: see torchvision)",
            build=partial(_build, name),
            blocks=_blocks,
            torchvision_weights=True,
        )


FAMILY = TorchvisionFamily()


def _torchvision_models() -> Any:
    """torchvision.models, imported on demand: it takes longer than torch itself."""
    from torchvision import models

    return models


@cache
def _names() -> list[str]:
    return list(_torchvision_models().list_models(module=_torchvision_models()))


def _build(name: str) -> tuple[nn.Module, int]:
    """The network without its last linear layer, and the input width of that layer."""
    from torch import nn

    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # auxiliary classifiers are for training only
        options = {"aux_logits": False, "init_weights": False}
    trunk: nn.Module = _torchvision_models().get_model(name, weights=None, **options)
    linear = [key for key, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"model.frame_encoder '{name}' has no linear layer as its classifier")
    parent_name, _, child = linear[-1].rpartition(".")
    parent = trunk.get_submodule(parent_name)
    n_features = int(getattr(parent, child).in_features)
    # Identity, since forward() of the network still calls the layer
    setattr(parent, child, nn.Identity())
    return trunk, n_features


def _blocks(trunk: nn.Module) -> list[list[nn.Module]]:
    """Blocks from input to output: layers of a vision transformer, else children with weights."""
    from torch import nn

    encoder = getattr(trunk, "encoder", None)
    if isinstance(encoder, nn.Module) and hasattr(encoder, "layers"):  # a vision transformer
        layers: list[list[nn.Module]] = [
            [layer] for layer in encoder.get_submodule("layers").children()
        ]
        # the final norm is trained with the last layer
        layers[-1].append(encoder.get_submodule("ln"))
        return [[trunk.get_submodule("conv_proj")], *layers]
    features = getattr(trunk, "features", None)
    # networks without `features`, such as ResNets, have their stages as children
    children = list((features if isinstance(features, nn.Module) else trunk).children())
    return [[child] for child in children if any(True for _ in child.parameters())]
