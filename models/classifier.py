"""The whole network after the frame encoder: picture and sound per step, fused, to logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audio_encoder import AudioEncoder
from models.audio_front_end import as_float
from models.settings import ModelSettings
from models.shapes import check_shape, length_mask
from models.temporal_head import TemporalHead, last_valid_step


@dataclass(frozen=True)
class ClipBatch:
    """Clips padded to one length.

    picture      float or float16 [B, T, Dv] frame features
    sound        float [B, T · frames per step, Da] front-end frames; int16: the waveform itself
    has_picture  bool [B, T]
    has_sound    bool [B, T]
    lengths      int64 [B]
    """

    picture: Tensor
    sound: Tensor
    has_picture: Tensor
    has_sound: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> ClipBatch:
        return ClipBatch(
            self.picture.to(device),
            self.sound.to(device),
            self.has_picture.to(device),
            self.has_sound.to(device),
            self.lengths.to(device),
        )


@dataclass(frozen=True)
class Dimensions:
    """Sizes that come from the encoder, the clip settings and the labels, not from settings."""

    frame_features: int
    audio_bands: int
    audio_frames_per_step: int
    n_classes: int


class AudioVisualClassifier(nn.Module):
    """Frame features and sound → logits [B, K].

    A step without picture or without sound gets a learned stand-in instead of data, so "nothing
    there" differs from a black picture and from silence.
    """

    def __init__(self, settings: ModelSettings, dimensions: Dimensions) -> None:
        super().__init__()
        if settings.modalities == "auto":
            raise ValueError("model.modalities must be resolved to both, picture or sound first")
        self.settings, self.dimensions = settings, dimensions
        self.uses_picture = settings.modalities in ("both", "picture")
        self.uses_sound = settings.modalities in ("both", "sound")
        n_fused = 0
        if self.uses_picture:
            self.picture_in = nn.Sequential(
                nn.LayerNorm(dimensions.frame_features),
                nn.Dropout(settings.dropout),
                nn.Linear(dimensions.frame_features, settings.picture_features),
                nn.GELU(),
            )
            self.no_picture = _stand_in(settings.picture_features)
            n_fused += settings.picture_features
        if self.uses_sound:
            self.audio_encoder = AudioEncoder(
                settings, dimensions.audio_bands, dimensions.audio_frames_per_step
            )
            self.no_sound = _stand_in(settings.audio_features)
            n_fused += settings.audio_features
        self.dropout = nn.Dropout(settings.dropout)
        self.head = TemporalHead(settings, n_fused)
        self.out = nn.Linear(settings.head_units, dimensions.n_classes)

    def fuse(self, batch: ClipBatch) -> Tensor:
        """[B, T, Dv + Da]: each step's picture and sound, concatenated on the last dimension."""
        size, steps = batch.has_picture.shape
        inside = length_mask(batch.lengths, steps)
        parts: list[Tensor] = []
        if self.uses_picture:
            check_shape("picture", batch.picture, (size, steps, self.dimensions.frame_features))
            seen = (batch.has_picture & inside)[:, :, None]
            parts.append(torch.where(seen, self.picture_in(batch.picture.float()), self.no_picture))
        if self.uses_sound:
            heard = batch.has_sound & inside
            encoded = self.audio_encoder(as_float(batch.sound), heard)
            parts.append(torch.where(heard[:, :, None], encoded, self.no_sound))
        return torch.cat(parts, dim=-1)

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits [B, K]; softmax is the caller's."""
        check_shape("has_sound", batch.has_sound, tuple(batch.has_picture.shape))
        fused = self.dropout(self.fuse(batch))  # [B, T, Dv + Da]
        steps = self.head(fused, batch.lengths)  # [B, T, units]
        return self.judge(last_valid_step(steps, batch.lengths))

    def judge(self, last: Tensor) -> Tensor:
        """[B, units] of the last step → logits [B, K]."""
        logits: Tensor = self.out(self.dropout(last))
        check_shape("logits", logits, (last.shape[0], self.dimensions.n_classes))
        return logits


def _stand_in(n_features: int) -> nn.Parameter:
    """What a step without picture, or without sound, begins training with: [D]."""
    return nn.Parameter(nn.init.normal_(torch.empty(n_features), std=0.1))
