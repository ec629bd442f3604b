"""Features made by another network, brought to one scale and to the width this network works in.

One modality: its vector per step, and the answer it gives by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.settings import ModelSettings

_LEAST = 1e-3  # a feature that hardly changes must not be blown up


class Standardise(nn.Module):
    """[…, D] → (x − centre) / scale, each feature by the training clips' mean and deviation.

    On some hundred clips this is worth several points over a norm within each step, which takes
    away how strong a feature is on the whole. Until `settle` is called it changes nothing.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit_statistics(self, parts: Iterable[Tensor]) -> None:
        """Take mean and deviation from vectors [N, D], given in parts; none: left as it is."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for part in parts:
            values = part.double()
            count += values.shape[0]
            total = total + values.sum(dim=0)
            squares = squares + values.square().sum(dim=0)
        if not count:
            return
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(deviation + _LEAST)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale


class Projection(nn.Module):
    """[B, T, D] → [B, T, n_out]: standardised, then one layer."""

    def __init__(self, n_features: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(n_features)
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_out), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.layer(self.standardise(x))
        return projected


class VideoBranch(nn.Module):
    """Frame features [B, T, Dv] → [B, T, picture_features].

    With `motion`, beside it goes how much each feature changed since the step before: a label that
    lies in movement need not be learned from two steps at once.
    """

    def __init__(self, settings: ModelSettings, n_frame_features: int) -> None:
        super().__init__()
        self.has_motion = settings.motion
        self.n_features = settings.picture_features * (2 if settings.motion else 1)
        self.static = Projection(n_frame_features, settings.picture_features, settings.dropout)
        if settings.motion:
            self.motion = Projection(n_frame_features, settings.picture_features, settings.dropout)

    def fit_statistics(self, clips: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the scale of features from training clips: features [T, Dv] and present [T]."""
        self.static.standardise.fit_statistics(features[present] for features, present in clips)
        if self.has_motion:
            self.motion.standardise.fit_statistics(
                feature_difference(features[None].float(), present[None])[0][present]
                for features, present in clips
            )

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """features [B, T, Dv], present bool [B, T], true where there is a picture."""
        encoded: Tensor = self.static(features)
        if not self.has_motion:
            return encoded
        return torch.cat([encoded, self.motion(feature_difference(features, present))], dim=-1)


def feature_difference(features: Tensor, present: Tensor) -> Tensor:
    """[B, T, D]: absolute difference to the step before; zero where either has no picture."""
    known = (present[:, 1:] & present[:, :-1])[:, :, None]
    moved = (features[:, 1:] - features[:, :-1]).abs() * known
    return torch.cat([torch.zeros_like(features[:, :1]), moved], dim=1)
