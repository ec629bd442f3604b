"""The whole network after the frame encoder: picture and sound per step, fused, to logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audio.encoder import AudioEncoder
from models.audio.front_end import as_float
from models.modality_branches import OwnAnswer, PictureEncoder
from models.output import Answers, AnswerWeights, situations
from models.pooling import build_readout
from models.settings import ModelSettings
from models.shapes import check_shape, length_mask
from models.temporal.build import build_head


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
    audio_rate_hz: int
    n_classes: int


@dataclass(frozen=True)
class FusedSteps:
    """What the head is given, and what each modality answers from by itself.

    joint    float [B, T, Dv + Da]: picture and sound, concatenated on the last dimension
    parts    modality → float [B, T, D']
    present  modality → bool [B, T]
    """

    joint: Tensor
    parts: dict[str, Tensor]
    present: dict[str, Tensor]

    def between(self, start: int, end: int) -> FusedSteps:
        """The steps start ≤ t < end."""
        return FusedSteps(
            self.joint[:, start:end],
            {name: part[:, start:end] for name, part in self.parts.items()},
            {name: mask[:, start:end] for name, mask in self.present.items()},
        )


class AudioVisualClassifier(nn.Module):
    """Frame features and sound → logits [B, K].

    A step without picture or without sound gets a learned stand-in instead of data, so "nothing
    there" differs from a black picture and from silence.
    """

    answer_weights: Tensor

    def __init__(self, settings: ModelSettings, dimensions: Dimensions) -> None:
        super().__init__()
        if settings.modalities == "auto":
            raise ValueError("model.modalities must be resolved to both, picture or sound first")
        self.settings, self.dimensions = settings, dimensions
        self.uses_picture = settings.modalities in ("both", "picture")
        self.uses_sound = settings.modalities in ("both", "sound")
        widths: dict[str, int] = {}
        if self.uses_picture:
            self.picture_encoder = PictureEncoder(settings, dimensions.frame_features)
            widths["picture"] = self.picture_encoder.n_features
        if self.uses_sound:
            self.audio_encoder = AudioEncoder(
                settings, dimensions.audio_bands, dimensions.audio_frames_per_step,
                dimensions.audio_rate_hz,
            )  # fmt: skip
            widths["sound"] = settings.audio_features
        self.stand_ins = nn.ParameterDict({name: _stand_in(n) for name, n in widths.items()})
        self.dropout = nn.Dropout(settings.dropout)
        self.head = build_head(settings, sum(widths.values()))
        self.readout = build_readout(settings.read_out, settings.head_units)
        self.out = nn.Linear(self.readout.n_out, dimensions.n_classes)
        self.own = nn.ModuleDict(
            {name: OwnAnswer(settings, n, dimensions.n_classes) for name, n in widths.items()}
            if settings.own_answers
            else {}
        )
        shape = len(situations(self.own)), 1 + len(self.own)
        self.register_buffer("answer_weights", torch.ones(shape))

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """What each answer counts for in the average; chosen on clips not trained on."""
        names = ["joint", *self.own]
        return {
            situation: dict(zip(names, row, strict=True))
            for situation, row in zip(
                situations(self.own), self.answer_weights.tolist(), strict=True
            )
        }

    def weigh(self, weights: AnswerWeights) -> None:
        """Set what each answer counts for."""
        names = ["joint", *self.own]
        rows = [[weights[s][name] for name in names] for s in situations(self.own)]
        self.answer_weights.copy_(torch.tensor(rows))

    def fuse(self, batch: ClipBatch) -> FusedSteps:
        """Each step's picture and sound, concatenated on the last dimension."""
        size, steps = batch.has_picture.shape
        inside = length_mask(batch.lengths, steps)
        parts, present = {}, {}
        if self.uses_picture:
            check_shape("picture", batch.picture, (size, steps, self.dimensions.frame_features))
            present["picture"] = batch.has_picture & inside
            parts["picture"] = self.picture_encoder(batch.picture.float(), present["picture"])
        if self.uses_sound:
            present["sound"] = batch.has_sound & inside
            parts["sound"] = self.audio_encoder(as_float(batch.sound), present["sound"])
        filled = [
            torch.where(present[name][:, :, None], part, self.stand_ins[name])
            for name, part in parts.items()
        ]
        return FusedSteps(torch.cat(filled, dim=-1), parts, present)

    def answers(self, batch: ClipBatch) -> Answers:
        """All answers about each clip; what training learns from."""
        check_shape("has_sound", batch.has_sound, tuple(batch.has_picture.shape))
        fused = self.fuse(batch)
        steps = self.head(self.dropout(fused.joint), batch.lengths)  # [B, T, units]
        inside = length_mask(batch.lengths, steps.shape[1])
        return Answers(
            self.judge(self.readout(steps, inside)),
            {name: own(fused.parts[name], fused.present[name]) for name, own in self.own.items()},
            {name: mask.any(dim=1) for name, mask in fused.present.items()},
        )

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits [B, K], the answers combined; softmax is the caller's."""
        return self.answers(batch).combined(self.weights)

    def own_answer(self, modality: str) -> OwnAnswer:
        """What answers from this modality alone. Raises KeyError where nothing does."""
        own = self.own[modality]
        assert isinstance(own, OwnAnswer)
        return own

    def judge(self, vector: Tensor) -> Tensor:
        """[B, D] of the read-out → joint logits [B, K]."""
        logits: Tensor = self.out(self.dropout(vector))
        check_shape("logits", logits, (vector.shape[0], self.dimensions.n_classes))
        return logits


def _stand_in(n_features: int) -> nn.Parameter:
    """What a step without picture, or without sound, begins training with: [D]."""
    return nn.Parameter(nn.init.normal_(torch.empty(n_features), std=0.1))
