"""The labelled clips of a work folder, as training, evaluation and baselines read them.

Batches of prepared clips for training: in memory, bucketed by length, reproducible.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_prep.clip import Samples
from data_prep.dataset.clip_store import with_outcome
from data_prep.manifest import ManifestRow, read_manifest
from models.audio.front_end import AudioFrontEnd
from models.settings import ModelSettings
from pipeline.checkpoints.model_card import ModelCard, missing_modalities
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.errors import UserError
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.feature_store import FeatureStore, StoredClip, finished_clips, open_store
from pipeline.features.samples import LengthBuckets, Sample, make_sample
from pipeline.storage.workspace import PrepRecord, Workspace
from pipeline.training.lightning_module import Batch


@dataclass(frozen=True)
class LabelledSample:
    """A manifest row with its clip."""

    row: ManifestRow
    sample: Sample


@dataclass(frozen=True)
class PreparedData:
    """A prepared work folder."""

    work: Path
    record: PrepRecord
    rows: list[ManifestRow]
    store: FeatureStore

    @property
    def digest(self) -> str:
        """Names which clips, labels and splits a model was trained on."""
        used = sorted((r.id, r.label, r.split) for r in self.rows if r.trainable)
        return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:16]

    @property
    def whole(self) -> PreparedData:
        """The same with all clips to be trained on."""
        return replace(self, rows=[replace(row, split="train") for row in self.rows])

    def samples(
        self, splits: Sequence[str], front_end: AudioFrontEnd, jpegs: bool = False
    ) -> list[LabelledSample]:
        """Clips of these splits, in manifest order."""
        rows = {row.id: row for row in self.rows if row.trainable and row.split in splits}
        found = {
            clip.id: make_sample(
                clip.features, self._sound(clip, front_end), clip.video_mask, clip.audio_mask,
                front_end,
                clip.jpegs, clip.mirrored,
            )
            for clip in self.store.read(rows, jpegs)
        }  # fmt: skip
        return [LabelledSample(row, found[key]) for key, row in rows.items() if key in found]

    def _sound(self, clip: StoredClip, front_end: AudioFrontEnd) -> Samples | Float16Array:
        if not front_end.takes_windows:
            return clip.waveform
        if clip.spectrogram_features is None:
            raise UserError(
                f"{self.work} holds no features of windows of sound; prepare into another folder, "
                "or use model.audio_front_end=log_mel"
            )
        return clip.spectrogram_features


def open_prepared(work: Path) -> PreparedData:
    """Read a work folder's manifest and settings. Raises UserError where it is not prepared."""
    space = Workspace(work)
    record = space.prepared()
    rows = read_manifest(space.manifest)
    store = open_store(space, record)
    settled = finished_clips(store, work)
    rows = [with_outcome(row, settled.get(row.id)) for row in rows]
    waiting = sum(row.trainable and row.id not in settled for row in rows)
    if waiting:
        raise UserError(
            f"{waiting} clips of {space.manifest} are not prepared; run the same "
            "`framewave prep` command again, it continues"
        )
    return PreparedData(work, record, rows, store)


def resolve_modalities(settings: ModelSettings, picture: bool, sound: bool) -> ModelSettings:
    """Replace "auto" by what the training clips have. Raises UserError where it is not there."""
    if settings.modalities == "auto":
        found = "both" if picture and sound else "picture" if picture else "sound"
        return settings.model_copy(update={"modalities": found})
    for name, present in (("picture", picture), ("sound", sound)):
        if settings.modalities in (name, "both") and not present:
            raise UserError(
                f"model.modalities={settings.modalities}, but no training clip has {name}; "
                "use model.modalities=auto"
            )
    return settings


def with_used_modalities(card: ModelCard, items: Sequence[LabelledSample]) -> list[LabelledSample]:
    """The clips that have something the model sees or hears; the others get no prediction, so
    nothing is to be learned or chosen on them."""
    return [
        item
        for item in items
        if not missing_modalities(
            card, bool(item.sample.video_mask.any()), bool(item.sample.audio_mask.any())
        )
    ]


def class_weights(numbers: Sequence[int], n_classes: int) -> list[float]:
    """Weight of each class: inverse frequency, mean one over the targets; 0 where there is none."""
    counts = Counter(numbers)
    return [
        len(numbers) / (len(counts) * counts[k]) if counts[k] else 0.0 for k in range(n_classes)
    ]


_MOST_WORKERS = 4


class ClipBatches(Dataset[Batch]):
    """One item is one batch: the clips of a list of indices."""

    def __init__(self, samples: list[LabelledSample], targets: Sequence[Tensor]) -> None:
        """targets: int64 [N] of each clip."""
        self._samples: list[Sample] = [item.sample for item in samples]
        self._targets = list(targets)

    @property
    def has_jpegs(self) -> bool:
        """Whether the frame encoder is trained too and needs the frames themselves."""
        return any(sample.jpegs for sample in self._samples)

    def __getitem__(self, indices: list[int]) -> Batch:
        samples = [self._samples[i] for i in indices]
        if self.has_jpegs:
            samples = [sample.with_frames() for sample in samples]
        return samples, torch.cat([self._targets[i] for i in indices])


class EpochBatches(Sampler[list[int]]):
    """Yields index lists in an order that depends on the epoch alone.

    The epoch is asked for when the first batch is: a trainer's own announcement (`set_epoch`)
    comes with another number when it continues a run that was killed.
    """

    def __init__(self, buckets: LengthBuckets, epoch: Callable[[], int]) -> None:
        self._buckets, self._epoch = buckets, epoch

    def __len__(self) -> int:
        return len(self._buckets.epoch(0))

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._buckets.epoch(self._epoch())


def loader_order(samples: list[LabelledSample], config: Config) -> list[int]:
    """The clips' places in the order in which `loader` gives them, where epochs are alike."""
    return [place for batch in _buckets(samples, config).epoch(0) for place in batch]


def _buckets(samples: list[LabelledSample], config: Config) -> LengthBuckets:
    lengths = [item.sample.n_steps for item in samples]
    return LengthBuckets(lengths, config.train.batch_size, config.train.seed)


def batch_loader(
    samples: list[LabelledSample],
    targets: Sequence[Tensor],
    config: Config,
    epoch: Callable[[], int] = lambda: 0,
) -> DataLoader[Batch]:
    """Batches of clips in memory; workers only where JPEGs have to be decoded meanwhile."""
    dataset = ClipBatches(samples, targets)
    order = EpochBatches(_buckets(samples, config), epoch)
    workers = min(_MOST_WORKERS, count_cores()) if dataset.has_jpegs else 0
    return DataLoader(
        dataset, batch_size=None, sampler=order, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=False,
    )  # fmt: skip
