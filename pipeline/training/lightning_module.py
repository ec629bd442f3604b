"""What training does to a batch of clips so that a small set goes further.

The training step, as Lightning runs it: loss and validation scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.audio.front_end import apply_gain, as_float
from models.backbones.frame_encoder import FrameEncoder
from models.classifier import AudioVisualClassifier, ClipBatch
from models.output import (
    ClassifierOutput,
    FusionWeights,
    fit_temperature,
    modality_subsets,
    select_fusion_weights,
)
from pipeline.config import TrainSettings
from pipeline.errors import UserError
from pipeline.features.samples import Sample, collate
from pipeline.training.calibration import accuracy_and_macro_f1

_MASKS = 2  # stripes of bands and of time that are blanked, each of random width


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of clips, and shares of the labels float [B, K] of the whole and of each modality.

    These differ where two clips are mixed of which only one has a sound: that sound is its own
    label's alone.
    """

    clips: ClipBatch
    fused: Tensor
    video: Tensor
    audio: Tensor


def mixup(clips: ClipBatch, targets: Tensor, strength: float, within: float = 0.0) -> LabelledBatch:
    """Each clip with a share of another one of the batch, and labels [B, K] in the same shares.

    Zhang et al., 2018 (mixup), on features. The share is one for the batch, drawn from
    Beta(strength, strength). A step that only one of the two has is taken from that one as it is.
    within: chance that all pairs of the batch are of one label each.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    order = torch.randperm(targets.shape[0], device=targets.device)
    if within and float(torch.rand(())) < within:
        order = _within_labels(targets.argmax(dim=1), order)
    picture, video_mask = _mixed(clips.video, clips.video_mask, share, order)
    sound, audio_mask = _mixed(clips.audio, clips.audio_mask, share, order)
    lengths = torch.maximum(clips.lengths, clips.lengths[order])
    batch = ClipBatch(picture, sound, video_mask, audio_mask, lengths)
    joint = share * targets + (1 - share) * targets[order]
    of_picture, of_sound = (
        _label_of_modality(joint, targets, there.any(dim=1), order)
        for there in (clips.video_mask, clips.audio_mask)
    )
    return LabelledBatch(batch, joint, of_picture, of_sound)


def _within_labels(labels: Tensor, order: Tensor) -> Tensor:
    """A random order made one in which every clip [B] stands at the place of one of its label."""
    place = torch.empty_like(order)
    place[labels.argsort(stable=True)] = order[labels[order].argsort(stable=True)]
    return place


def _label_of_modality(joint: Tensor, targets: Tensor, there: Tensor, order: Tensor) -> Tensor:
    """[B, K]: the label of the one that has the modality, where only one of two does."""
    only_first, only_other = there & ~there[order], ~there & there[order]
    found = torch.where(only_first[:, None], targets, joint)
    return torch.where(only_other[:, None], targets[order], found)


def _mixed(data: Tensor, there: Tensor, share: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """data [B, T · n, D] and bool [B, T], which steps it has → both mixed."""
    other, other_there = data[order], there[order]
    first = torch.where(there, torch.where(other_there, share, 1.0), 0.0)  # [B, T]
    second = torch.where(other_there, torch.where(there, 1 - share, 1.0), 0.0)
    per_step = data.shape[1] // there.shape[1] if there.shape[1] else 1
    weights = [
        part.repeat_interleave(per_step, dim=1)[:, :, None].to(torch.float32)
        for part in (first, second)
    ]
    return as_float(data) * weights[0] + as_float(other) * weights[1], there | other_there


def drop_modalities(labelled: LabelledBatch, chance: float) -> LabelledBatch:
    """Some clips that have both lose their picture, as many others their sound, each by chance."""
    clips = labelled.clips
    draw = torch.rand(clips.lengths.shape[0], device=clips.lengths.device)
    both = clips.video_mask.any(dim=1) & clips.audio_mask.any(dim=1)
    video_mask = clips.video_mask & ~(both & (draw < chance))[:, None]
    audio_mask = clips.audio_mask & ~(both & (draw > 1 - chance))[:, None]
    left = ClipBatch(clips.video, clips.audio, video_mask, audio_mask, clips.lengths)
    return replace(labelled, clips=left)


def augment_audio(
    clips: ClipBatch, settings: TrainSettings, classifier: AudioVisualClassifier
) -> ClipBatch:
    """The sound moved in time, louder or softer, and stripes of its bands and time blanked
    (SpecAugment: Park et al., 2019). Features of windows stay as they are: they cannot be so."""
    front_end = classifier.settings.audio_front_end
    if not classifier.uses_audio or front_end == "pretrained":
        return clips
    sound, size = clips.audio, clips.audio.shape[0]
    if settings.sound_shift:
        most = settings.sound_shift * sound.shape[1] / max(1, clips.audio_mask.shape[1])
        by = ((2 * torch.rand(size, device=sound.device) - 1) * most).round().long()
        sound = _moved(sound, clips.audio_mask, by)
    if settings.sound_gain_db:
        gain_db = (2 * torch.rand(size, device=sound.device) - 1) * settings.sound_gain_db
        sound = apply_gain(sound, gain_db, front_end)
    if settings.sound_masking and front_end == "log_mel":
        sound = _masked(sound, settings.sound_masking)
    return replace(clips, audio=sound)


def _moved(sound: Tensor, audio_mask: Tensor, by: Tensor) -> Tensor:
    """[B, M, D], each clip's frames `by` places later (int64 [B]). A frame to which nothing would
    come, from before, after or a step without sound, stays as it is."""
    there = audio_mask.repeat_interleave(sound.shape[1] // audio_mask.shape[1], dim=1)  # [B, M]
    place = torch.arange(sound.shape[1], device=sound.device)[None] - by[:, None]
    inside = (place >= 0) & (place < sound.shape[1])
    place = place.clamp(0, sound.shape[1] - 1)
    comes = there & inside & there.gather(1, place)
    moved = sound.gather(1, place[:, :, None].expand(-1, -1, sound.shape[2]))
    return torch.where(comes[:, :, None], moved, sound)


def _masked(sound: Tensor, share: float) -> Tensor:
    """[B, M, D] with random stripes along time and bands set to the clip's own mean."""
    fill = sound.mean(dim=(1, 2), keepdim=True)
    for axis in (1, 2):
        length = sound.shape[axis]
        place = torch.arange(length, device=sound.device)
        for _ in range(_MASKS):
            width = torch.rand(sound.shape[0], 1, device=sound.device) * share * length / _MASKS
            start = torch.rand(sound.shape[0], 1, device=sound.device) * (length - width)
            stripe = (place >= start) & (place < start + width)  # [B, length]
            sound = torch.where(
                stripe[:, :, None] if axis == 1 else stripe[:, None, :], fill, sound
            )
    return sound


Batch = tuple[list[Sample], Tensor]
"""Clips and their class numbers [B]."""


class ClipTraining(pl.LightningModule):
    """Trains the classifier, and the frame encoder's last blocks where one is given."""

    def __init__(
        self,
        classifier: AudioVisualClassifier,
        encoder: FrameEncoder | None,
        settings: TrainSettings,
        loss: nn.Module,
        per_clip: bool = True,
    ) -> None:
        """loss: of logits and shares of labels [N, K], with the buffer `weights` [K].

        per_clip: whether a clip has one row of logits, so that clips can be mixed.
        """
        super().__init__()
        self.classifier, self.encoder, self.settings = classifier, encoder, settings
        # What is judged and kept is a running average of the weights: on small sets the weights
        # of a single epoch differ by several points, and the luckiest on validation are chosen.
        self.averaged = AveragedModel(classifier, multi_avg_fn=_average)
        self.averaged.requires_grad_(False)
        self.loss, self._per_clip = loss, per_clip
        self._scores: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._validation_batches: list[tuple[ClassifierOutput, Tensor]] = []
        self.validation_outputs: tuple[ClassifierOutput, Tensor] | None = None
        """The last epoch's answers about the validation clips, in the loader's order, and their
        class numbers [N]."""

    @property
    def averaged_classifier(self) -> AudioVisualClassifier:
        """The classifier with averaged weights."""
        averaged = self.averaged.module
        assert isinstance(averaged, AudioVisualClassifier)
        return averaged

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Only what the network computes with goes to the device; see `clip_batch`."""
        return batch[0], batch[1].to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # All randomness of an epoch follows from seed and epoch, so a run that was killed and
        # continued draws what an undisturbed one would have drawn. (Lightning leaves out
        # on_train_epoch_start when it continues after the end of an epoch.)
        if batch_idx == 0:
            torch.manual_seed(self.settings.seed * 1_000_003 + self.current_epoch)
            self._losses.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        samples, numbers = batch
        if self.settings.mirror != "never":
            turned = torch.rand(len(samples)) < 0.5
            samples = [s.as_mirrored() if t else s for s, t in zip(samples, turned, strict=True)]
        targets = nn.functional.one_hot(numbers, self.classifier.dimensions.n_classes).float()
        clips = augment_audio(self.clip_batch(samples), self.settings, self.classifier)
        labelled = LabelledBatch(clips, targets, targets, targets)
        if self.settings.mixup and self._per_clip:
            labelled = mixup(clips, targets, self.settings.mixup, self.settings.mixup_within)
        if self.classifier.uses_video and self.classifier.uses_audio:
            labelled = drop_modalities(labelled, self.settings.modality_dropout)
        loss = self.loss_of(self.classifier.outputs(labelled.clips), labelled)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}; try a smaller "
                f"train.learning_rate than {self.settings.learning_rate:g}"
            )
        self._losses.append(loss.detach())
        return loss

    def loss_of(self, answers: ClassifierOutput, labelled: LabelledBatch) -> Tensor:
        """Cross-entropy of the joint answer, and of each modality's own over the clips that have
        it."""
        loss: Tensor = self.loss(answers.fused, labelled.fused)
        own_targets = {"picture": labelled.video, "sound": labelled.audio}
        for name, logits in answers.unimodal.items():
            there = answers.present[name]
            if bool(there.any()):
                share = there.float().mean()
                own: Tensor = self.loss(logits[there], own_targets[name][there])
                loss = loss + self.settings.own_loss * share * own
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(self.classifier)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        samples, targets = batch
        answers = self.averaged_classifier.outputs(self.clip_batch(samples))
        self._validation_batches.append((answers.cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        answers = ClassifierOutput.concat([seen for seen, _ in self._validation_batches])
        targets = torch.cat([numbers for _, numbers in self._validation_batches])
        self._validation_batches.clear()
        self.validation_outputs = answers, targets
        # judged as the kept network will be: by those of its answers that are best on these clips
        weights, selection = self.select(answers, targets)
        logits = answers.combined(weights)
        accuracy, macro_f1 = accuracy_and_macro_f1(targets, logits.argmax(dim=1))
        self._scores = {
            "val_loss": float(nn.functional.cross_entropy(logits, targets)),
            "val_accuracy": accuracy,
            "val_macro_f1": macro_f1,
            "val_selection": selection,
        }
        self.log_dict(self._scores)

    def select(self, answers: ClassifierOutput, targets: Tensor) -> tuple[FusionWeights, float]:
        """Which answers are best on these clips, and what the kept epoch has the highest of.

        A label that no training clip has is the more wrong the longer one trains: its clips, where
        there are others, have no say. targets int64 [N].
        """
        learnable = self.loss.get_buffer("weights").cpu()[targets] > 0
        learnable |= ~learnable.any()
        answers, targets = answers.select(learnable), targets[learnable]
        weights = dict.fromkeys(
            modality_subsets(answers.unimodal), select_fusion_weights([answers], targets)
        )
        return weights, self._selection_score(answers.combined(weights), targets)

    def _selection_score(self, logits: Tensor, targets: Tensor) -> float:
        if self.settings.choose_by == "macro_f1":
            # Small validation sets tie often: among equals the lower loss wins.
            loss = float(nn.functional.cross_entropy(logits, targets))
            _, macro_f1 = accuracy_and_macro_f1(targets, logits.argmax(dim=1))
            return macro_f1 - 1e-3 * math.tanh(loss / 10)
        # How sure a network is too much of itself is mended afterwards, so it should not count.
        scaled = logits.double() / fit_temperature(logits, targets)
        return -float(nn.functional.cross_entropy(scaled, targets))

    def epoch_scores(self) -> dict[str, float]:
        """Scores of the epoch that ends now: mean training loss and validation."""
        return {"train_loss": float(torch.stack(self._losses).mean()), **self._scores}

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.epoch_scores()["train_loss"])

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        assert self.trainer.max_epochs is not None
        per_epoch = int(self.trainer.estimated_stepping_batches) // self.trainer.max_epochs
        # A training that ends early goes the first part of the way that a whole one goes.
        total = per_epoch * self.settings.max_epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: warm_cosine(k, total))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=True)

    def clip_batch(self, samples: list[Sample]) -> ClipBatch:
        """The samples as the network takes them, on its device; frames through the encoder."""
        clips = collate(samples).to(self.device)
        if self.encoder is None:
            return clips
        picture = clips.video.float()
        for row, sample in enumerate(samples):
            if sample.frames is not None:
                features = self.encoder(sample.frames.to(self.device, non_blocking=True))
                own = picture[row, : sample.n_steps, : features.shape[1]]
                own[sample.video_mask] = features
        return ClipBatch(picture, clips.audio, clips.video_mask, clips.audio_mask, clips.lengths)


def _average(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
    """Exponential moving average over about 50 steps, over fewer at the beginning."""
    n = int(n_averaged)
    decay = min(0.98, (1 + n) / (10 + n))
    torch._foreach_lerp_(list(averaged), list(current), 1 - decay)


def warm_cosine(step: int, total: int) -> float:
    """Factor of the learning rate: up over the first twentieth, then half a cosine down to 0."""
    warm = max(1.0, total / 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def fit_feature_statistics(classifier: AudioVisualClassifier, samples: Sequence[Sample]) -> None:
    """Give the network the scale of the training clips' features."""
    if classifier.uses_video:
        classifier.video_branch.fit_statistics([(s.video, s.video_mask) for s in samples])
    if classifier.uses_audio:
        classifier.audio_encoder.fit_statistics([(s.audio, s.audio_mask) for s in samples])
