"""What training does to a batch of clips so that a small set goes further."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.audio_front_end import as_float, louder
from models.classifier import AudioVisualClassifier, ClipBatch
from pipeline.config import TrainSettings

_MASKS = 2  # stripes of bands and of time that are blanked, each of random width


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of clips, and shares of the labels float [B, K] of the whole and of each modality.

    These differ where two clips are mixed of which only one has a sound: that sound is its own
    label's alone.
    """

    clips: ClipBatch
    joint: Tensor
    picture: Tensor
    sound: Tensor


def mixed(clips: ClipBatch, targets: Tensor, strength: float, within: float = 0.0) -> LabelledBatch:
    """Each clip with a share of another one of the batch, and labels [B, K] in the same shares.

    Zhang et al., 2018 (mixup), on features. The share is one for the batch, drawn from
    Beta(strength, strength). A step that only one of the two has is taken from that one as it is.
    within: chance that all pairs of the batch are of one label each.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    order = torch.randperm(targets.shape[0], device=targets.device)
    if within and float(torch.rand(())) < within:
        order = _within_labels(targets.argmax(dim=1), order)
    picture, has_picture = _mixed(clips.picture, clips.has_picture, share, order)
    sound, has_sound = _mixed(clips.sound, clips.has_sound, share, order)
    lengths = torch.maximum(clips.lengths, clips.lengths[order])
    batch = ClipBatch(picture, sound, has_picture, has_sound, lengths)
    joint = share * targets + (1 - share) * targets[order]
    of_picture, of_sound = (
        _owned(joint, targets, there.any(dim=1), order)
        for there in (clips.has_picture, clips.has_sound)
    )
    return LabelledBatch(batch, joint, of_picture, of_sound)


def _within_labels(labels: Tensor, order: Tensor) -> Tensor:
    """A random order made one in which every clip [B] stands at the place of one of its label."""
    place = torch.empty_like(order)
    place[labels.argsort(stable=True)] = order[labels[order].argsort(stable=True)]
    return place


def _owned(joint: Tensor, targets: Tensor, there: Tensor, order: Tensor) -> Tensor:
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
    both = clips.has_picture.any(dim=1) & clips.has_sound.any(dim=1)
    has_picture = clips.has_picture & ~(both & (draw < chance))[:, None]
    has_sound = clips.has_sound & ~(both & (draw > 1 - chance))[:, None]
    left = ClipBatch(clips.picture, clips.sound, has_picture, has_sound, clips.lengths)
    return replace(labelled, clips=left)


def augment_sound(
    clips: ClipBatch, settings: TrainSettings, classifier: AudioVisualClassifier
) -> ClipBatch:
    """The sound moved in time, louder or softer, and stripes of its bands and time blanked
    (SpecAugment: Park et al., 2019). Features of windows stay as they are: they cannot be so."""
    front_end = classifier.settings.audio_front_end
    if not classifier.uses_sound or front_end == "pretrained":
        return clips
    sound, size = clips.sound, clips.sound.shape[0]
    if settings.sound_shift:
        most = settings.sound_shift * sound.shape[1] / max(1, clips.has_sound.shape[1])
        by = ((2 * torch.rand(size, device=sound.device) - 1) * most).round().long()
        sound = _moved(sound, clips.has_sound, by)
    if settings.sound_gain_db:
        gain_db = (2 * torch.rand(size, device=sound.device) - 1) * settings.sound_gain_db
        sound = louder(sound, gain_db, front_end)
    if settings.sound_masking and front_end == "log_mel":
        sound = _masked(sound, settings.sound_masking)
    return replace(clips, sound=sound)


def _moved(sound: Tensor, has_sound: Tensor, by: Tensor) -> Tensor:
    """[B, M, D], each clip's frames `by` places later (int64 [B]). A frame to which nothing would
    come, from before, after or a step without sound, stays as it is."""
    there = has_sound.repeat_interleave(sound.shape[1] // has_sound.shape[1], dim=1)  # [B, M]
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
