"""LightningModule for the classifier: augmentation of batches, loss, and validation scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim.swa_utils import AveragedModel

from data_prep.segments import UNKNOWN
from models.audio.front_end import apply_gain, as_float
from models.backbones.frame_encoder import FrameEncoder
from models.classifier import AudioVisualClassifier, ClipBatch, HeadStates
from models.heads.decoder import EventDecoder
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

_MASKS = 2  # SpecAugment stripes per axis, each of random width


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of clips with soft targets, float [B, K], for the fused head and each modality's."""

    clips: ClipBatch
    # They differ if two clips are mixed of which one has no sound: the sound has one label.
    fused: Tensor
    video: Tensor
    audio: Tensor


def mixup(clips: ClipBatch, targets: Tensor, strength: float, within: float = 0.0) -> LabelledBatch:
    """Mixup on features (Zhang et al., 2018): each clip is mixed with another one of the batch.

    targets: float [B, K]. The share is drawn once per batch, from Beta(strength, strength). A step
    that only one of two clips has is copied unmixed. within: probability that the clips of every
    pair of the batch have the same label.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    order = torch.randperm(targets.shape[0], device=targets.device)  # [B], the partner of each clip
    if within and float(torch.rand(())) < within:
        order = _within_labels(targets.argmax(dim=1), order)
    picture, video_mask = _mix(clips.video, clips.video_mask, share, order)
    sound, audio_mask = _mix(clips.audio, clips.audio_mask, share, order)
    lengths = torch.maximum(clips.lengths, clips.lengths[order])
    batch = ClipBatch(picture, sound, video_mask, audio_mask, lengths)
    mixed_targets = share * targets + (1 - share) * targets[order]  # [B, K]
    of_picture, of_sound = (
        _label_of_modality(mixed_targets, targets, mask.any(dim=1), order)
        for mask in (clips.video_mask, clips.audio_mask)
    )
    return LabelledBatch(batch, mixed_targets, of_picture, of_sound)


def _within_labels(labels: Tensor, order: Tensor) -> Tensor:
    """Turn a permutation [B] into one that only permutes clips within their label."""
    place = torch.empty_like(order)
    # both index lists are sorted by label, so equal positions have equal labels
    place[labels.argsort(stable=True)] = order[labels[order].argsort(stable=True)]
    return place


def _label_of_modality(mixed: Tensor, targets: Tensor, present: Tensor, order: Tensor) -> Tensor:
    """Targets [B, K] of one modality: those of the only clip of a pair that has it."""
    only_first, only_other = present & ~present[order], ~present & present[order]
    found = torch.where(only_first[:, None], targets, mixed)
    return torch.where(only_other[:, None], targets[order], found)


def _mix(data: Tensor, present: Tensor, share: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Mix data [B, T · n, D] and its mask bool [B, T] with those of the partners."""
    other, other_present = data[order], present[order]
    weight = torch.where(present, torch.where(other_present, share, 1.0), 0.0)  # [B, T]
    other_weight = torch.where(other_present, torch.where(present, 1 - share, 1.0), 0.0)  # [B, T]
    per_step = data.shape[1] // present.shape[1] if present.shape[1] else 1
    weights = [
        part.repeat_interleave(per_step, dim=1)[:, :, None].to(torch.float32)  # [B, T · n, 1]
        for part in (weight, other_weight)
    ]
    return as_float(data) * weights[0] + as_float(other) * weights[1], present | other_present


def drop_modalities(labelled: LabelledBatch, chance: float) -> LabelledBatch:
    """Modality dropout: clips with both lose one of them, each with probability `chance`."""
    clips = labelled.clips
    draw = torch.rand(clips.lengths.shape[0], device=clips.lengths.device)
    both = clips.video_mask.any(dim=1) & clips.audio_mask.any(dim=1)
    # one draw for both masks, so that no clip loses both modalities
    video_mask = clips.video_mask & ~(both & (draw < chance))[:, None]  # [B, T]
    audio_mask = clips.audio_mask & ~(both & (draw > 1 - chance))[:, None]
    left = ClipBatch(clips.video, clips.audio, video_mask, audio_mask, clips.lengths)
    return replace(labelled, clips=left)


def augment_audio(
    clips: ClipBatch, settings: TrainSettings, classifier: AudioVisualClassifier
) -> ClipBatch:
    """Shift the sound in time, change its gain, and mask stripes of time and frequency
    (SpecAugment: Park et al., 2019)."""
    front_end = classifier.settings.audio_front_end
    if not classifier.uses_audio or front_end == "pretrained":
        return clips  # pretrained features are vectors of windows, without bands or samples
    sound, size = clips.audio, clips.audio.shape[0]
    if settings.sound_shift:
        most = settings.sound_shift * sound.shape[1] / max(1, clips.audio_mask.shape[1])
        offset = ((2 * torch.rand(size, device=sound.device) - 1) * most).round().long()
        sound = _moved(sound, clips.audio_mask, offset)
    if settings.sound_gain_db:
        gain_db = (2 * torch.rand(size, device=sound.device) - 1) * settings.sound_gain_db
        sound = apply_gain(sound, gain_db, front_end)
    # a waveform has no frequency axis to mask
    if settings.sound_masking and front_end == "log_mel":
        sound = _mask_stripes(sound, settings.sound_masking)
    return replace(clips, audio=sound)


def _moved(sound: Tensor, audio_mask: Tensor, offset: Tensor) -> Tensor:
    """Shift each clip's frames [B, M, D] later by `offset` places, int64 [B].

    A frame whose source lies outside the clip or in a step without sound stays as it is.
    """
    present = audio_mask.repeat_interleave(sound.shape[1] // audio_mask.shape[1], dim=1)  # [B, M]
    source = torch.arange(sound.shape[1], device=sound.device)[None] - offset[:, None]  # [B, M]
    inside = (source >= 0) & (source < sound.shape[1])
    source = source.clamp(0, sound.shape[1] - 1)
    has_source = present & inside & present.gather(1, source)  # [B, M]
    moved = sound.gather(1, source[:, :, None].expand(-1, -1, sound.shape[2]))  # [B, M, D]
    return torch.where(has_source[:, :, None], moved, sound)


def _mask_stripes(sound: Tensor, share: float) -> Tensor:
    """Set random stripes of time and of bands [B, M, D] to the mean of the clip."""
    fill = sound.mean(dim=(1, 2), keepdim=True)  # [B, 1, 1]
    for axis in (1, 2):
        length = sound.shape[axis]  # M frames, then D bands
        place = torch.arange(length, device=sound.device)
        for _ in range(_MASKS):
            width = torch.rand(sound.shape[0], 1, device=sound.device) * share * length / _MASKS
            start = torch.rand(sound.shape[0], 1, device=sound.device) * (length - width)
            stripe = (place >= start) & (place < start + width)  # [B, length]
            sound = torch.where(
                stripe[:, :, None] if axis == 1 else stripe[:, None, :], fill, sound
            )
    return sound


class Batch(NamedTuple):
    """Clips, and the class indices of their rows of logits, int64 [N].

    steps: int64 [T1 + T2 + …], the classes of the clips' steps for decoders; UNKNOWN where they are
    not known. None for other heads.
    """

    samples: list[Sample]
    targets: Tensor
    steps: Tensor | None = None


class ClipTraining(pl.LightningModule):
    """Trains the classifier, and if an encoder is given, its last blocks."""

    def __init__(
        self,
        classifier: AudioVisualClassifier,
        encoder: FrameEncoder | None,
        settings: TrainSettings,
        loss: nn.Module,
        per_clip: bool = True,
        decodes: bool = False,
    ) -> None:
        """loss: of logits and soft targets [N, K], with a buffer `weights` [K] of class weights.

        per_clip: whether a clip has one row of logits, as mixup needs. decodes: whether the heads
        are decoders.
        """
        super().__init__()
        self.classifier, self.encoder, self.settings = classifier, encoder, settings
        # single epochs differ by several points on small sets: validation would pick the luckiest
        self.averaged = AveragedModel(classifier, multi_avg_fn=_average)
        self.averaged.requires_grad_(False)
        self.loss, self._per_clip, self._decodes = loss, per_clip, decodes
        self._scores: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._validation_batches: list[tuple[ClassifierOutput, Tensor]] = []
        self.validation_outputs: tuple[ClassifierOutput, Tensor] | None = None
        """(output, class indices [N]) of the last epoch's validation clips, in loader order."""

    @property
    def averaged_classifier(self) -> AudioVisualClassifier:
        """The classifier with averaged weights."""
        averaged = self.averaged.module
        assert isinstance(averaged, AudioVisualClassifier)
        return averaged

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move the targets only: `clip_batch` moves what the network needs of the clips."""
        steps = None if batch.steps is None else batch.steps.to(device)
        return Batch(batch.samples, batch.targets.to(device), steps)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # not on_train_epoch_start, which Lightning skips when it resumes at the end of an epoch
        if batch_idx == 0:
            self._set_teacher_share()
            # from seed and epoch only, so a resumed run draws the same numbers
            torch.manual_seed(self.settings.seed * 1_000_003 + self.current_epoch)
            self._losses.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        samples, numbers, of_steps = batch
        positions = self._positions(samples, numbers)
        if self.settings.mirror != "never":
            mirrored = torch.rand(len(samples)) < 0.5
            samples = [s.as_mirrored() if t else s for s, t in zip(samples, mirrored, strict=True)]
        known = numbers != UNKNOWN  # [N]
        n_classes = self.classifier.dimensions.n_classes
        targets = nn.functional.one_hot(numbers.clamp(min=0), n_classes).float()
        clips = augment_audio(self.clip_batch(samples), self.settings, self.classifier)
        labelled = LabelledBatch(clips, targets, targets, targets)
        if self.settings.mixup and self._per_clip:
            labelled = mixup(clips, targets, self.settings.mixup, self.settings.mixup_within)
        if self.classifier.uses_video and self.classifier.uses_audio:
            labelled = drop_modalities(labelled, self.settings.modality_dropout)
        states, given = self.classifier.head_states(labelled.clips), self.given(numbers)
        output = self.classifier.rows(states, given)
        if not bool(known.all()):
            output, positions = output.select(known), positions[known]
            labelled = replace(labelled, **{
                name: getattr(labelled, name)[known] for name in ("fused", "video", "audio")
            })  # fmt: skip
        loss = 0 * output.fused.sum()  # of a batch without any known label
        if bool(known.any()):
            loss = self.loss_of(output, labelled, positions)
            for rows in self.classifier.head.earlier_logits(states.fused):
                loss = loss + self.loss(rows[known], labelled.fused, positions)
        if given is not None:
            loss = loss + self._alignment_loss(states, given, of_steps)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}; try a smaller "
                f"train.learning_rate than {self.settings.learning_rate:g}"
            )
        self._losses.append(loss.detach())
        return loss

    def given(self, numbers: Tensor) -> Tensor | None:
        """Classes that a decoder is given: those of each clip's list, int64 [B, L]; else None.

        numbers: int64 [N], lists that each end with the last class.
        """
        if not self._decodes:
            return None
        end = self.classifier.dimensions.n_classes - 1
        ends = (numbers == end).nonzero()[:, 0] + 1
        lists = numbers.tensor_split(ends[:-1].cpu())
        return pad_sequence([one[:-1] for one in lists], True, float(UNKNOWN))

    def _alignment_loss(self, states: HeadStates, given: Tensor, of_steps: Tensor | None) -> Tensor:
        """Loss of the steps' classes of all decoders, weighted as their own losses.

        of_steps: their classes, see `Batch`.
        """
        classes = torch.full_like(states.valid, UNKNOWN, dtype=torch.long)  # [B, T]
        if of_steps is not None:
            classes[states.valid] = of_steps
        total = states.valid.new_zeros((), dtype=torch.float32)
        for name, state in {"": states.fused, **states.unimodal}.items():
            head = self.classifier.unimodal_head(name) if name else self.classifier.head
            assert isinstance(head, EventDecoder)
            losses = head.alignment_loss(state, given, classes)  # [B]
            if name:
                losses = losses * states.present[name].any(dim=1) * self.settings.own_loss
            total = total + losses.mean()
        return total

    def _set_teacher_share(self) -> None:
        """Teacher forcing falls evenly, from 1 to settings.teacher_forcing (Bengio et al., 2015:
        scheduled sampling)."""
        done = self.current_epoch / max(1, self.settings.max_epochs - 1)
        for head in self.classifier.modules():
            if isinstance(head, EventDecoder):
                head.teacher_share = 1 - done * (1 - self.settings.teacher_forcing)

    def _positions(self, samples: list[Sample], numbers: Tensor) -> Tensor:
        """int64 [N]: neighbouring steps of a clip differ by one, clips by more."""
        rows = torch.arange(numbers.shape[0], device=numbers.device)
        lengths = torch.tensor([sample.n_steps for sample in samples], device=numbers.device)
        if self._per_clip or numbers.shape[0] != int(lengths.sum()):  # or several rows per step
            return 2 * rows
        clip = torch.arange(len(samples), device=numbers.device).repeat_interleave(lengths)
        return rows + clip

    def loss_of(
        self, output: ClassifierOutput, labelled: LabelledBatch, positions: Tensor
    ) -> Tensor:
        """Loss of the fused head, plus that of the unimodal heads, weighted own_loss.

        positions: of the rows, int64 [N]; see `pipeline.tasks.base.Task.build_loss`.
        """
        loss: Tensor = self.loss(output.fused, labelled.fused, positions)
        unimodal_targets = {"picture": labelled.video, "sound": labelled.audio}
        for name, logits in output.unimodal.items():
            present = output.present[name]  # [N]
            if bool(present.any()):
                share = present.float().mean()  # every clip counts the same, however many have it
                unimodal_loss: Tensor = self.loss(
                    logits[present], unimodal_targets[name][present], positions[present]
                )
                loss = loss + self.settings.own_loss * share * unimodal_loss
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(self.classifier)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        samples, targets = batch[:2]
        clips = self.clip_batch(samples)
        output = self.averaged_classifier.outputs(clips, self.given(targets)).cpu()
        known = targets.cpu() != UNKNOWN
        self._validation_batches.append((output.select(known), targets.cpu()[known]))

    def on_validation_epoch_end(self) -> None:
        output = ClassifierOutput.concat([batch for batch, _ in self._validation_batches])
        targets = torch.cat([numbers for _, numbers in self._validation_batches])
        self._validation_batches.clear()
        self.validation_outputs = output, targets
        # with the fusion weights that are best on these clips, as the final model has them
        weights, selection = self.select(output, targets)
        logits = output.combined(weights)  # [N, K]
        accuracy, macro_f1 = accuracy_and_macro_f1(targets, logits.argmax(dim=1))
        self._scores = {
            "val_loss": float(nn.functional.cross_entropy(logits, targets)),
            "val_accuracy": accuracy,
            "val_macro_f1": macro_f1,
            "val_selection": selection,
        }
        self.log_dict(self._scores)

    def select(self, output: ClassifierOutput, targets: Tensor) -> tuple[FusionWeights, float]:
        """(best fusion weights, selection score) on these clips; targets int64 [N].

        The epoch with the highest selection score is kept.
        """
        # labels without training clips only get worse with training: ignored if there are others
        learnable = self.loss.get_buffer("weights").cpu()[targets] > 0
        learnable |= ~learnable.any()  # all clips if none is learnable
        output, targets = output.select(learnable), targets[learnable]
        weights = dict.fromkeys(
            modality_subsets(output.unimodal), select_fusion_weights([output], targets)
        )
        return weights, self._selection_score(output.combined(weights), targets)

    def _selection_score(self, logits: Tensor, targets: Tensor) -> float:
        if self.settings.choose_by == "macro_f1":
            # macro-F1 often ties on small sets: the lower loss wins
            loss = float(nn.functional.cross_entropy(logits, targets))
            _, macro_f1 = accuracy_and_macro_f1(targets, logits.argmax(dim=1))
            return macro_f1 - 1e-3 * math.tanh(loss / 10)
        # overconfidence does not count: the final model is calibrated
        scaled = logits.double() / fit_temperature(logits, targets)
        return -float(nn.functional.cross_entropy(scaled, targets))

    def epoch_scores(self) -> dict[str, float]:
        """Mean training loss and validation scores of the epoch that ends."""
        return {"train_loss": float(torch.stack(self._losses).mean()), **self._scores}

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.epoch_scores()["train_loss"])

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        assert self.trainer.max_epochs is not None
        per_epoch = int(self.trainer.estimated_stepping_batches) // self.trainer.max_epochs
        # settings, not trainer: a run with fewer epochs follows the start of the full schedule
        total = per_epoch * self.settings.max_epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: warm_cosine(k, total))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        # biases, norm scales and the missing-modality embeddings have one dimension
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=True)

    def clip_batch(self, samples: list[Sample]) -> ClipBatch:
        """Collate samples on the device; frames, if any, go through the frame encoder."""
        clips = collate(samples).to(self.device)
        if self.encoder is None:
            return clips
        picture = clips.video.float()  # [B, T, Dv]
        for row, sample in enumerate(samples):
            if sample.frames is not None:
                features = self.encoder(sample.frames.to(self.device, non_blocking=True))  # [n, D]
                of_clip = picture[row, : sample.n_steps, : features.shape[1]]
                of_clip[sample.video_mask] = features  # into a view of `picture`
        return ClipBatch(picture, clips.audio, clips.video_mask, clips.audio_mask, clips.lengths)


def _average(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
    """Exponential moving average over about 50 steps, fewer at the start of training."""
    n = int(n_averaged)
    decay = min(0.98, (1 + n) / (10 + n))  # warm-up: forgets the random initial weights
    torch._foreach_lerp_(list(averaged), list(current), 1 - decay)


def warm_cosine(step: int, total: int) -> float:
    """Learning rate factor: linear warm-up over the first 5 % of steps, then cosine decay to 0."""
    warm = max(1.0, total / 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def fit_feature_statistics(classifier: AudioVisualClassifier, samples: Sequence[Sample]) -> None:
    """Fit the standardisation of the features to the training clips."""
    if classifier.uses_video:
        classifier.video_branch.fit_statistics([(s.video, s.video_mask) for s in samples])
    if classifier.uses_audio:
        classifier.audio_encoder.fit_statistics([(s.audio, s.audio_mask) for s in samples])
