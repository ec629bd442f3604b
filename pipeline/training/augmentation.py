"""What training does to a batch of clips so that a small set goes further."""

from __future__ import annotations

import torch
from torch import Tensor

from models.audio_front_end import as_float, louder
from models.classifier import AudioVisualClassifier, ClipBatch
from pipeline.config import TrainSettings

_MASKS = 2  # stripes of bands and of time that are blanked, each of random width


def mixed(clips: ClipBatch, targets: Tensor, strength: float) -> tuple[ClipBatch, Tensor]:
    """Each clip with a share of another one of the batch, and labels [B, K] in the same shares.

    Zhang et al., 2018 (mixup), on features. The share is one for the batch, drawn from
    Beta(strength, strength). A step that only one of the two has is taken from that one as it is.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    order = torch.randperm(targets.shape[0], device=targets.device)
    picture, has_picture = _mixed(clips.picture, clips.has_picture, share, order)
    sound, has_sound = _mixed(clips.sound, clips.has_sound, share, order)
    lengths = torch.maximum(clips.lengths, clips.lengths[order])
    batch = ClipBatch(picture, sound, has_picture, has_sound, lengths)
    return batch, share * targets + (1 - share) * targets[order]


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


def augment(
    clips: ClipBatch, settings: TrainSettings, classifier: AudioVisualClassifier
) -> ClipBatch:
    """Modality dropout; the sound moved in time, louder or softer, and stripes of its bands and
    time blanked (SpecAugment: Park et al., 2019)."""
    size = clips.lengths.shape[0]
    has_picture, has_sound, sound = clips.has_picture, clips.has_sound, clips.sound
    if settings.modality_dropout and classifier.uses_picture and classifier.uses_sound:
        draw = torch.rand(size, device=sound.device)
        both = has_picture.any(dim=1) & has_sound.any(dim=1)
        no_picture = both & (draw < settings.modality_dropout)
        no_sound = both & (draw > 1 - settings.modality_dropout) & ~no_picture
        has_picture = has_picture & ~no_picture[:, None]
        has_sound = has_sound & ~no_sound[:, None]
    if classifier.uses_sound:
        sound = _sound_augmented(sound, clips.has_sound.shape[1], settings, classifier)
    return ClipBatch(clips.picture, sound, has_picture, has_sound, clips.lengths)


def _sound_augmented(
    sound: Tensor, steps: int, settings: TrainSettings, classifier: AudioVisualClassifier
) -> Tensor:
    """[B, M, D]. Features of windows stay as they are: they cannot be moved or made louder."""
    front_end = classifier.settings.audio_front_end
    if front_end == "pretrained":
        return sound
    size = sound.shape[0]
    if settings.sound_shift:
        most = settings.sound_shift * sound.shape[1] / max(1, steps)
        by = ((2 * torch.rand(size, device=sound.device) - 1) * most).round().long()
        sound = _moved(sound, by)
    if settings.sound_gain_db:
        gain_db = (2 * torch.rand(size, device=sound.device) - 1) * settings.sound_gain_db
        sound = louder(sound, gain_db, front_end)
    if settings.sound_masking and front_end == "log_mel":
        sound = _masked(sound, settings.sound_masking)
    return sound


def _moved(sound: Tensor, by: Tensor) -> Tensor:
    """[B, M, D], each clip's frames `by` places later (int64 [B]); the outermost are repeated."""
    place = torch.arange(sound.shape[1], device=sound.device)[None] - by[:, None]
    place = place.clamp(0, sound.shape[1] - 1)
    return sound.gather(1, place[:, :, None].expand(-1, -1, sound.shape[2]))


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
