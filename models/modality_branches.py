"""Branches of one modality: features standardised and projected to one vector per time step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.settings import ModelSettings

_MIN_SCALE = 1e-3  # a nearly constant feature must not be amplified


class Standardise(nn.Module):
    """x [..., D] → (x − centre) / scale, the mean and standard deviation of the training clips.

    On a few hundred clips this is several points of accuracy better than LayerNorm, which removes
    the overall magnitude of a step's features. The identity until `fit_statistics` is called.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit_statistics(self, parts: Iterable[Tensor]) -> None:
        """Set mean and standard deviation from vectors [N, D], in parts; no-op without vectors."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for part in parts:
            values = part.double()  # the difference of sums below would lose digits in float32
            count += values.shape[0]
            total = total + values.sum(dim=0)
            squares = squares + values.square().sum(dim=0)
        if not count:
            return
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()  # rounding can give < 0
        self.centre.copy_(mean)
        self.scale.copy_(deviation + _MIN_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale


class Projection(nn.Module):
    """Standardise, dropout, linear, GELU: [B, T, D] → [B, T, n_out]."""

    def __init__(self, n_features: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(n_features)
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_out), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.layer(self.standardise(x))  # [B, T, n_out]
        return projected


class VideoBranch(nn.Module):
    """Frame features [B, T, Dv] → [B, T, n_features].

    n_features is settings.picture_features, twice that with `motion`: the absolute change of each
    feature since the previous step is then projected and appended, so that movement is visible in a
    single step.
    """

    def __init__(self, settings: ModelSettings, n_frame_features: int) -> None:
        super().__init__()
        self.has_motion = settings.motion
        self.n_features = settings.picture_features * (2 if settings.motion else 1)
        self.static = Projection(n_frame_features, settings.picture_features, settings.dropout)
        if settings.motion:
            self.motion = Projection(n_frame_features, settings.picture_features, settings.dropout)

    def fit_statistics(self, clips: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Fit the standardisation on training clips: features [T, Dv], mask bool [T]."""
        self.static.standardise.fit_statistics(features[present] for features, present in clips)
        if self.has_motion:
            self.motion.standardise.fit_statistics(
                feature_difference(features[None].float(), present[None])[0][present]
                for features, present in clips
            )

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """features [B, T, Dv]; present bool [B, T], true where the step has a frame."""
        encoded: Tensor = self.static(features)  # [B, T, picture_features]
        if not self.has_motion:
            return encoded
        change = feature_difference(features, present)  # [B, T, Dv]
        return torch.cat([encoded, self.motion(change)], dim=-1)  # [B, T, 2 · picture_features]


def feature_difference(features: Tensor, present: Tensor) -> Tensor:
    """Absolute difference to the previous step [B, T, D]; zero if either step has no frame."""
    known = (present[:, 1:] & present[:, :-1])[:, :, None]
    moved = (features[:, 1:] - features[:, :-1]).abs() * known
    return torch.cat([torch.zeros_like(features[:, :1]), moved], dim=1)
