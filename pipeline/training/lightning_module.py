"""The training step, as Lightning runs it: loss and validation scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.answers import Answers, AnswerWeights, best_weights, situations
from models.classifier import AudioVisualClassifier, ClipBatch
from models.frame_encoder import FrameEncoder
from models.temperature import best_temperature
from pipeline.config import TrainSettings
from pipeline.encoding.samples import Sample, collate
from pipeline.errors import UserError
from pipeline.training.augmentation import LabelledBatch, augment_sound, drop_modalities, mixed
from pipeline.training.judging import scores_of

Batch = tuple[list[Sample], Tensor]
"""Clips and their class numbers [B]."""


class ClipTraining(pl.LightningModule):
    """Trains the classifier, and the frame encoder's last blocks where one is given."""

    def __init__(
        self,
        classifier: AudioVisualClassifier,
        encoder: FrameEncoder | None,
        settings: TrainSettings,
        class_weights: list[float],
    ) -> None:
        """class_weights: [K], 0 where no training clip has the label."""
        super().__init__()
        self.classifier, self.encoder, self.settings = classifier, encoder, settings
        # What is judged and kept is a running average of the weights: on small sets the weights
        # of a single epoch differ by several points, and the luckiest on validation are chosen.
        self.averaged = AveragedModel(classifier, multi_avg_fn=_average)
        self.averaged.requires_grad_(False)
        self.loss = WeightedCrossEntropy(class_weights, settings.label_smoothing)
        self._scores: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._seen: list[tuple[Answers, Tensor]] = []
        self.validated: tuple[Answers, Tensor] | None = None
        """The last epoch's answers about the validation clips, in the loader's order, and their
        class numbers [N]."""

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
        samples, numbers = batch
        if self.settings.mirror != "never":
            turned = torch.rand(len(samples)) < 0.5
            samples = [s.as_mirrored() if t else s for s, t in zip(samples, turned, strict=True)]
        targets = nn.functional.one_hot(numbers, self.classifier.dimensions.n_classes).float()
        clips = augment_sound(self.clip_batch(samples), self.settings, self.classifier)
        labelled = LabelledBatch(clips, targets, targets, targets)
        if self.settings.mixup:
            labelled = mixed(clips, targets, self.settings.mixup, self.settings.mixup_within)
        if self.classifier.uses_picture and self.classifier.uses_sound:
            labelled = drop_modalities(labelled, self.settings.modality_dropout)
        loss = self.loss_of(self.classifier.answers(labelled.clips), labelled)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}; try a smaller "
                f"train.learning_rate than {self.settings.learning_rate:g}"
            )
        self._losses.append(loss.detach())
        return loss

    def loss_of(self, answers: Answers, labelled: LabelledBatch) -> Tensor:
        """Cross-entropy of the joint answer, and of each modality's own over the clips that have
        it."""
        loss: Tensor = self.loss(answers.joint, labelled.joint)
        own_targets = {"picture": labelled.picture, "sound": labelled.sound}
        for name, logits in answers.own.items():
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
        answers = self.kept.answers(self.clip_batch(samples))
        self._seen.append((answers.cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        answers = Answers.joined([seen for seen, _ in self._seen])
        targets = torch.cat([numbers for _, numbers in self._seen])
        self._seen.clear()
        self.validated = answers, targets
        # judged as the kept network will be: by those of its answers that are best on these clips
        weights, selection = self.choose(answers, targets)
        logits = answers.combined(weights)
        accuracy, macro_f1 = scores_of(targets, logits.argmax(dim=1))
        self._scores = {
            "val_loss": float(nn.functional.cross_entropy(logits, targets)),
            "val_accuracy": accuracy,
            "val_macro_f1": macro_f1,
            "val_selection": selection,
        }
        self.log_dict(self._scores)

    def choose(self, answers: Answers, targets: Tensor) -> tuple[AnswerWeights, float]:
        """Which answers are best on these clips, and what the kept epoch has the highest of.

        A label that no training clip has is the more wrong the longer one trains: its clips, where
        there are others, have no say. targets int64 [N].
        """
        learnable = self.loss.weights.cpu()[targets] > 0
        learnable |= ~learnable.any()
        answers, targets = answers.rows(learnable), targets[learnable]
        weights = dict.fromkeys(situations(answers.own), best_weights([answers], targets))
        return weights, self._worth(answers.combined(weights), targets)

    def _worth(self, logits: Tensor, targets: Tensor) -> float:
        if self.settings.choose_by == "macro_f1":
            # Small validation sets tie often: among equals the lower loss wins.
            loss = float(nn.functional.cross_entropy(logits, targets))
            _, macro_f1 = scores_of(targets, logits.argmax(dim=1))
            return macro_f1 - 1e-3 * math.tanh(loss / 10)
        # How sure a network is too much of itself is mended afterwards, so it should not count.
        scaled = logits.double() / best_temperature(logits, targets)
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
        picture = clips.picture.float()
        for row, sample in enumerate(samples):
            if sample.frames is not None:
                features = self.encoder(sample.frames.to(self.device, non_blocking=True))
                own = picture[row, : sample.n_steps, : features.shape[1]]
                own[sample.has_picture] = features
        return ClipBatch(picture, clips.sound, clips.has_picture, clips.has_sound, clips.lengths)


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy over shares of labels, smoothed; each clip counts for what its labels weigh.

    The weight belongs to the clip, not to the label that is predicted: torch's own weights multiply
    the smoothed targets too, and a label that few clips have is then named for all of them. A label
    of weight 0, which no training clip has, gets no share of the smoothing.
    """

    weights: Tensor
    even: Tensor

    def __init__(self, weights: list[float], smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        there = (self.weights > 0).float()
        self.register_buffer("even", there / there.sum(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits and targets float [B, K], targets sum to one → mean over the clips' weights."""
        smoothed = (1 - self.smoothing) * targets + self.smoothing * self.even
        losses = nn.functional.cross_entropy(logits, smoothed, reduction="none")
        weight = targets @ self.weights
        mean: Tensor = (weight * losses).sum() / weight.sum()
        return mean


def _average(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
    """Exponential moving average over about 50 steps, over fewer at the beginning."""
    n = int(n_averaged)
    decay = min(0.98, (1 + n) / (10 + n))
    torch._foreach_lerp_(list(averaged), list(current), 1 - decay)


def warm_cosine(step: int, total: int) -> float:
    """Factor of the learning rate: up over the first twentieth, then half a cosine down to 0."""
    warm = max(1.0, total / 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def settle_scales(classifier: AudioVisualClassifier, samples: Sequence[Sample]) -> None:
    """Give the network the scale of the training clips' features."""
    if classifier.uses_picture:
        classifier.picture_encoder.settle([(s.picture, s.has_picture) for s in samples])
    if classifier.uses_sound:
        classifier.audio_encoder.settle([(s.sound, s.has_sound) for s in samples])
