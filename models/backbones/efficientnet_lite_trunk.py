"""EfficientNet-Lite as a trunk: pictures in, one vector of features each out."""

from __future__ import annotations

from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier; `classify` has it, for checking the weights."""

    def __init__(self, name: str) -> None:
        """name: as the package has it, with hyphens."""
        super().__init__()
        self.net = EfficientNet.from_name(name)
        self.n_features = int(self.net._fc.in_features)

    def forward(self, pictures: Tensor) -> Tensor:
        """float [N, C, H, W], normalised → [N, D]."""
        maps: Tensor = self.net.extract_features(pictures)  # [N, D, H/32, W/32]
        return maps.mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """[N, D] → logits of the 1000 ImageNet classes [N, 1000]."""
        logits: Tensor = self.net._fc(features)
        return logits

    def blocks(self) -> list[list[nn.Module]]:
        """Parts of the trunk from input to output, for training only the last ones."""
        inner: list[list[nn.Module]] = [[block] for block in self.net._blocks]
        stem: list[nn.Module] = [self.net._conv_stem, self.net._bn0]
        inner[-1] = [*inner[-1], self.net._conv_head, self.net._bn1]
        return [stem, *inner]
