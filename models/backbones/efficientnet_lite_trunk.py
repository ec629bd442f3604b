"""EfficientNet-Lite as a trunk: images to feature vectors."""

from __future__ import annotations

from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier; `classify` applies it, to check the weights."""

    def __init__(self, name: str) -> None:
        """name: as in the package, with hyphens."""
        super().__init__()
        self.net = EfficientNet.from_name(name)
        self.n_features = int(self.net._fc.in_features)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised images float [N, 3, H, W] → [N, D]."""
        maps: Tensor = self.net.extract_features(pictures)  # [N, D, H/32, W/32]
        return maps.mean(dim=(2, 3))  # [N, D]

    def classify(self, features: Tensor) -> Tensor:
        """[N, D] → logits of the 1000 ImageNet classes [N, 1000]."""
        logits: Tensor = self.net._fc(features)
        return logits

    def blocks(self) -> list[list[nn.Module]]:
        """Blocks from input to output, for fine-tuning the last ones."""
        inner: list[list[nn.Module]] = [[block] for block in self.net._blocks]
        stem: list[nn.Module] = [self.net._conv_stem, self.net._bn0]
        # the 1x1 convolution at the end belongs to the last block: it has no block of its own
        inner[-1] = [*inner[-1], self.net._conv_head, self.net._bn1]
        return [stem, *inner]
