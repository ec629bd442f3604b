"""The audio-visual classifier: frame features and sound, fused per time step, to logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audio.encoder import AudioEncoder
from models.audio.front_end import as_float
from models.heads.base import BuildHead, Head, HeadState
from models.heads.clip import build_clip_head
from models.modality_branches import VideoBranch
from models.output import ClassifierOutput, FusionWeights, modality_subsets
from models.settings import ModelSettings
from models.shapes import check_shape, length_mask
from models.temporal import build_temporal_model


@dataclass(frozen=True)
class ClipBatch:
    """A batch of clips, padded to the longest.

    video       float32 or float16 [B, T, Dv], frame features
    audio       float [B, T · frames per step, Da], front-end frames; int16 for a waveform
    video_mask  bool [B, T], steps with a picture
    audio_mask  bool [B, T], steps with sound
    lengths     int64 [B], number of steps without padding
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> ClipBatch:
        """A copy on this device."""
        return ClipBatch(
            self.video.to(device),
            self.audio.to(device),
            self.video_mask.to(device),
            self.audio_mask.to(device),
            self.lengths.to(device),
        )


@dataclass(frozen=True)
class Dimensions:
    """Sizes given by the encoder, the clip settings and the labels, not by ModelSettings.

    causal: no step's features depend on later steps. history_steps: steps up to each that the
    temporal model sees; None: all.
    """

    frame_features: int
    audio_bands: int
    audio_frames_per_step: int
    audio_rate_hz: int
    n_classes: int
    causal: bool = False
    history_steps: int | None = None


@dataclass(frozen=True)
class FusedFeatures:
    """Features per time step, of all modalities and of each.

    fused     float [B, T, Dv' + Da'], the branches concatenated, missing steps filled in
    branches  modality → float [B, T, D'], input of its unimodal head
    present   modality → bool [B, T], steps that have it
    """

    fused: Tensor
    branches: dict[str, Tensor]
    present: dict[str, Tensor]

    def steps(self, start: int, end: int) -> FusedFeatures:
        """The steps start ≤ t < end."""
        return FusedFeatures(
            self.fused[:, start:end],
            {name: part[:, start:end] for name, part in self.branches.items()},
            {name: mask[:, start:end] for name, mask in self.present.items()},
        )


@dataclass(frozen=True)
class HeadStates:
    """States of all heads after the steps of some clips, from which they give their logits.

    unimodal: modality → state; valid: bool [B, T], steps inside the clips; present: modality →
    bool [B, T], steps that have it.
    """

    fused: HeadState
    unimodal: dict[str, HeadState]
    valid: Tensor
    present: dict[str, Tensor]


class AudioVisualClassifier(nn.Module):
    """Frame features and sound → logits [N, K]: branches, fusion, temporal model, heads.

    A modality that a step lacks is replaced by a learned embedding, so that a missing picture
    differs from a black one, and missing sound from silence.
    """

    fusion_mask: Tensor

    def __init__(
        self,
        settings: ModelSettings,
        dimensions: Dimensions,
        build_head: BuildHead = build_clip_head,
    ) -> None:
        """Raises ValueError if model.modalities is "auto"."""
        super().__init__()
        if settings.modalities == "auto":
            raise ValueError("model.modalities must be resolved to both, picture or sound first")
        self.settings, self.dimensions = settings, dimensions
        self.uses_video = settings.modalities in ("both", "picture")
        self.uses_audio = settings.modalities in ("both", "sound")
        widths: dict[str, int] = {}
        if self.uses_video:
            self.video_branch = VideoBranch(settings, dimensions.frame_features)
            widths["picture"] = self.video_branch.n_features
        if self.uses_audio:
            self.audio_encoder = AudioEncoder(
                settings, dimensions.audio_bands, dimensions.audio_frames_per_step,
                dimensions.audio_rate_hz, dimensions.causal,
            )  # fmt: skip
            widths["sound"] = settings.audio_features
        self.missing_embeddings = nn.ParameterDict(
            {name: _missing_embedding(n) for name, n in widths.items()}
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.temporal = build_temporal_model(
            settings, sum(widths.values()), dimensions.history_steps
        )
        n_classes = dimensions.n_classes
        self.head = build_head(settings, settings.head_units, n_classes, fused=True)
        # without their losses, a modality hardly improves once the other one fits the labels
        self.unimodal = nn.ModuleDict(
            {name: build_head(settings, n, n_classes, fused=False) for name, n in widths.items()}
            if settings.own_answers
            else {}
        )
        # a buffer, so that the weights are saved with the model; [modality subsets, heads]
        shape = len(modality_subsets(self.unimodal)), 1 + len(self.unimodal)
        self.register_buffer("fusion_mask", torch.ones(shape))

    @property
    def fusion_weights(self) -> dict[str, dict[str, float]]:
        """Modality subset → weight of each head in the late fusion, chosen on held-out clips."""
        names = ["joint", *self.unimodal]
        return {
            subset: dict(zip(names, row, strict=True))
            for subset, row in zip(
                modality_subsets(self.unimodal), self.fusion_mask.tolist(), strict=True
            )
        }

    def set_fusion_weights(self, weights: FusionWeights) -> None:
        """Set the weights of the late fusion."""
        names = ["joint", *self.unimodal]
        rows = [[weights[s][name] for name in names] for s in modality_subsets(self.unimodal)]
        self.fusion_mask.copy_(torch.tensor(rows))

    def fuse(self, batch: ClipBatch) -> FusedFeatures:
        """Encode each modality and concatenate them per time step."""
        size, steps = batch.video_mask.shape
        inside = length_mask(batch.lengths, steps)  # [B, T]
        branches, present = {}, {}
        if self.uses_video:
            check_shape("picture", batch.video, (size, steps, self.dimensions.frame_features))
            present["picture"] = batch.video_mask & inside
            # [B, T, Dv']
            branches["picture"] = self.video_branch(batch.video.float(), present["picture"])
        if self.uses_audio:
            present["sound"] = batch.audio_mask & inside
            # [B, T · frames per step, Da] → [B, T, Da']
            branches["sound"] = self.audio_encoder(as_float(batch.audio), present["sound"])
        filled = [
            torch.where(
                present[name][:, :, None], branch, self.missing_embeddings[name]
            )  # [B, T, D']
            for name, branch in branches.items()
        ]
        return FusedFeatures(torch.cat(filled, dim=-1), branches, present)

    def outputs(self, batch: ClipBatch, given: Tensor | None = None) -> ClassifierOutput:
        """Logits of the fused and the unimodal heads, for training and late fusion.

        given: of a decoder, the classes that it has written so far, int64 [B, L].
        """
        return self.rows(self.head_states(batch), given)

    def head_states(self, batch: ClipBatch) -> HeadStates:
        """The states of all heads after the clips of a batch."""
        check_shape("audio_mask", batch.audio_mask, tuple(batch.video_mask.shape))
        fused = self.fuse(batch)
        steps = self.temporal(self.dropout(fused.fused), batch.lengths)  # [B, T, units]
        valid = length_mask(batch.lengths, steps.shape[1])  # [B, T]
        return HeadStates(
            self.head.update(None, steps, valid, valid),
            {
                name: self.unimodal_head(name).update(
                    None, fused.branches[name], valid, fused.present[name]
                )
                for name in self.unimodal
            },
            valid,
            fused.present,
        )

    def rows(self, states: HeadStates, given: Tensor | None = None) -> ClassifierOutput:
        """Logits [N, K] of all heads from their states; given: as for `outputs`."""
        if given is None:
            return ClassifierOutput(
                self.head.logits(states.fused),
                {name: self.unimodal_head(name).logits(s) for name, s in states.unimodal.items()},
                {name: self.head.rows_present(states.valid, mask)
                 for name, mask in states.present.items()},
            )  # fmt: skip
        return ClassifierOutput(
            self.head.logits_after(states.fused, given),
            {
                name: self.unimodal_head(name).logits_after(state, given)
                for name, state in states.unimodal.items()
            },
            {
                name: self.head.rows_present_after(states.valid, mask, given)
                for name, mask in states.present.items()
            },
        )

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits [N, K] after late fusion of the heads, without softmax."""
        return self.outputs(batch).combined(self.fusion_weights)

    def unimodal_head(self, modality: str) -> Head:
        """The unimodal head of a modality. Raises KeyError if there is none."""
        head = self.unimodal[modality]
        assert isinstance(head, Head)
        return head


def _missing_embedding(n_features: int) -> nn.Parameter:
    """Initial embedding [D] of a missing modality."""
    return nn.Parameter(nn.init.normal_(torch.empty(n_features), std=0.1))
