"""The training step, as Lightning runs it: loss, augmentation, validation scores."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.classifier import AudioVisualClassifier, ClipBatch
from models.frame_encoder import FrameEncoder
from pipeline.config import TrainSettings
from pipeline.encoding.samples import Sample, collate
from pipeline.errors import UserError

Batch = tuple[list[Sample], Tensor]
"""Clips and their class numbers [B]."""

_MASKS = 2  # stripes of bands and of time that are blanked, each of random width


class ClipTraining(pl.LightningModule):
    """Trains the classifier, and the frame encoder's last blocks where one is given."""

    def __init__(
        self,
        classifier: AudioVisualClassifier,
        encoder: FrameEncoder | None,
        settings: TrainSettings,
        class_weights: list[float] | None,
    ) -> None:
        super().__init__()
        self.classifier, self.encoder, self.settings = classifier, encoder, settings
        # What is judged and kept is a running average of the weights: on small sets the weights
        # of a single epoch differ by several points, and the luckiest on validation are chosen.
        self.averaged = AveragedModel(classifier, multi_avg_fn=_average)
        self.averaged.requires_grad_(False)
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.loss = nn.CrossEntropyLoss(weights, label_smoothing=settings.label_smoothing)
        self._scores: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def kept(self) -> AudioVisualClassifier:
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
        samples, targets = batch
        clips = self.clip_batch(samples)
        clips = augment(clips, self.settings, self.classifier)
        loss: Tensor = self.loss(self.classifier(clips), targets)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}; try a smaller "
                f"train.learning_rate than {self.settings.learning_rate:g}"
            )
        self._losses.append(loss.detach())
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(self.classifier)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        samples, targets = batch
        logits = self.averaged(self.clip_batch(samples))
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        self._seen.append((losses, logits.argmax(dim=1), targets))

    def on_validation_epoch_end(self) -> None:
        losses, predicted, targets = (
            torch.cat([item[i] for item in self._seen]).cpu() for i in range(3)
        )
        self._seen.clear()
        loss = float(losses.mean())
        macro_f1 = float(f1_score(targets, predicted, average="macro", zero_division=0))
        self._scores = {
            "val_loss": loss,
            "val_accuracy": float(accuracy_score(targets, predicted)),
            "val_macro_f1": macro_f1,
            # Small validation sets tie often: among equals the lower loss wins.
            "val_selection": macro_f1 - 1e-3 * math.tanh(loss / 10),
        }
        self.log_dict(self._scores)

    def epoch_scores(self) -> dict[str, float]:
        """Scores of the epoch that ends now: mean training loss and validation."""
        return {"train_loss": float(torch.stack(self._losses).mean()), **self._scores}

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.epoch_scores()["train_loss"])

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        total = int(self.trainer.estimated_stepping_batches)
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
        picture = clips.picture.float()
        for row, sample in enumerate(samples):
            if sample.frames is not None:
                features = self.encoder(sample.frames.to(self.device, non_blocking=True))
                picture[row, : sample.n_steps][sample.has_picture] = features
        return ClipBatch(picture, clips.sound, clips.has_picture, clips.has_sound, clips.lengths)


def _average(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
    """Exponential moving average over about 50 steps, over fewer at the beginning."""
    n = int(n_averaged)
    decay = min(0.98, (1 + n) / (10 + n))
    torch._foreach_lerp_(list(averaged), list(current), 1 - decay)


def warm_cosine(step: int, total: int) -> float:
    """Factor of the learning rate: up over the first twentieth, then half a cosine down to 0."""
    warm = max(1.0, total / 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def augment(
    clips: ClipBatch, settings: TrainSettings, classifier: AudioVisualClassifier
) -> ClipBatch:
    """Modality dropout, and stripes of bands and time blanked in the sound (SpecAugment)."""
    size = clips.lengths.shape[0]
    has_picture, has_sound, sound = clips.has_picture, clips.has_sound, clips.sound
    if settings.modality_dropout and classifier.uses_picture and classifier.uses_sound:
        draw = torch.rand(size, device=sound.device)
        both = has_picture.any(dim=1) & has_sound.any(dim=1)
        no_picture = both & (draw < settings.modality_dropout)
        no_sound = both & (draw > 1 - settings.modality_dropout) & ~no_picture
        has_picture = has_picture & ~no_picture[:, None]
        has_sound = has_sound & ~no_sound[:, None]
    if settings.sound_masking and classifier.uses_sound and sound.shape[2] > 1:
        sound = _masked(sound, settings.sound_masking)
    return ClipBatch(clips.picture, sound, has_picture, has_sound, clips.lengths)


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
