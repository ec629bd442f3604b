"""Prepared clips of a work folder with their labels, and reproducible batches of them.

Samples are held in memory and batched with others of similar length.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_prep.clip import Samples
from data_prep.dataset.clip_store import with_outcome
from data_prep.manifest import ManifestRow, read_manifest
from data_prep.segments import UNKNOWN
from data_prep.settings import TaskSettings
from models.audio.front_end import AudioFrontEnd
from models.settings import ModelSettings
from pipeline.checkpoints.model_card import ModelCard, missing_modalities
from pipeline.config import Config, TrainSettings
from pipeline.cores import count_cores
from pipeline.errors import UserError
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.feature_store import FeatureStore, StoredClip, finished_clips, open_store
from pipeline.features.samples import LabelledSample, LengthBuckets, Sample, make_sample
from pipeline.storage.workspace import PrepRecord, Workspace, prepared_task, with_task
from pipeline.tasks import get_task
from pipeline.tasks.base import Task
from pipeline.text_format import counted
from pipeline.training.lightning_module import Batch


@dataclass(frozen=True)
class PreparedData:
    """A prepared work folder: its record, manifest rows and stored features."""

    work: Path
    record: PrepRecord
    rows: list[ManifestRow]
    store: FeatureStore

    @property
    def digest(self) -> str:
        """Hash of clips, labels and splits, to recognise the data that a model was trained on."""
        trainable = sorted(
            (r.id, r.label, r.split, *((s.start_s, s.end_s, s.label) for s in r.segments))
            for r in self.rows
            if r.trainable
        )
        return hashlib.sha256(json.dumps(trainable).encode()).hexdigest()[:16]

    @property
    def whole(self) -> PreparedData:
        """The same with all clips in the split train."""
        return replace(self, rows=[replace(row, split="train") for row in self.rows])

    def samples(
        self, splits: Sequence[str], front_end: AudioFrontEnd, jpegs: bool = False
    ) -> list[LabelledSample]:
        """Samples of the trainable clips of these splits, in manifest order.

        jpegs: also the encoded frames, for fine-tuning the frame encoder.
        """
        rows = {row.id: row for row in self.rows if row.trainable and row.split in splits}
        samples = {
            clip.id: make_sample(
                clip.features, self._sound(clip, front_end), clip.video_mask, clip.audio_mask,
                front_end,
                clip.jpegs, clip.mirrored,
            )
            for clip in self.store.read(rows, jpegs)  # in the order of the store
        }  # fmt: skip
        return [LabelledSample(row, samples[key]) for key, row in rows.items() if key in samples]

    def _sound(self, clip: StoredClip, front_end: AudioFrontEnd) -> Samples | Float16Array:
        if not front_end.takes_windows:
            return clip.waveform
        if clip.spectrogram_features is None:
            raise UserError(
                f"{self.work} holds no features of audio windows; prepare into another folder, "
                "or use model.audio_front_end=log_mel"
            )
        return clip.spectrogram_features


def open_prepared(work: Path) -> PreparedData:
    """Open a work folder. Raises UserError if it is not prepared, or not completely."""
    space = Workspace(work)
    record = space.prepared()
    rows = read_manifest(space.manifest)
    store = open_store(space, record)
    outcomes = finished_clips(store, work)
    # the store is ahead of the manifest if prep was killed before it wrote that
    rows = [with_outcome(row, outcomes.get(row.id)) for row in rows]
    n_missing = sum(row.trainable and row.id not in outcomes for row in rows)
    if n_missing:
        raise UserError(
            f"{counted(n_missing, 'clip')} of {space.manifest} not prepared; run the same "
            "`framewave prep` command again, it continues"
        )
    return PreparedData(work, record, rows, store)


def with_trained_task(config: Config, record: PrepRecord, work: Path) -> Config:
    """The config with the task to train: that of the folder, or another one on its segments.

    Raises UserError if the folder was prepared for other labels.
    """
    prepared = prepared_task(record)
    asked = prepared.model_copy(update=config.explicit("task"))
    both_in_time = get_task(prepared).in_time and get_task(asked).in_time
    # segments and numbers are read, and overlaps resolved, by prep
    read_by_prep = {"overlap", "target"}
    free_keys = set(TaskSettings.model_fields) - read_by_prep if both_in_time else set()
    return with_task(config, record, work, free_keys)


def resolve_modalities(settings: ModelSettings, picture: bool, sound: bool) -> ModelSettings:
    """Resolve "auto" to what the training clips have. Raises UserError if they lack a modality."""
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
    """The clips with at least one modality that the model uses; others get no prediction."""
    return [
        item
        for item in items
        if not missing_modalities(
            card, bool(item.sample.video_mask.any()), bool(item.sample.audio_mask.any())
        )
    ]


def class_weights(numbers: Sequence[int], n_classes: int) -> list[float]:
    """Inverse class frequencies, with mean 1 over the targets; 0 for classes without targets."""
    counts = Counter(numbers)
    return [
        len(numbers) / (len(counts) * counts[k]) if counts[k] else 0.0 for k in range(n_classes)
    ]


def cut_into_windows(
    items: Sequence[LabelledSample], targets: Sequence[Tensor], n_steps: int
) -> tuple[list[LabelledSample], list[Tensor]]:
    """Cut clips of a task with rows for each step into windows of at most n_steps, of about equal
    length; targets int64 [T · rows per step] each."""
    windows: list[LabelledSample] = []
    cut_targets: list[Tensor] = []
    for item, of_clip in zip(items, targets, strict=True):
        n_windows = -(-item.sample.n_steps // n_steps)
        per_step = of_clip.shape[0] // item.sample.n_steps
        ends = [round(item.sample.n_steps * (k + 1) / n_windows) for k in range(n_windows)]
        for start, end in zip([0, *ends], ends, strict=False):
            windows.append(replace(item, sample=item.sample.steps(start, end)))
            cut_targets.append(of_clip[start * per_step : end * per_step])
    return windows, cut_targets


@dataclass(frozen=True)
class TrainingClips:
    """Clips, or windows of them, as they are trained on.

    targets: class indices of each, int64 [N], one for each row of logits. steps: classes of the
    time steps of each, int64 [T], if the task's decoder is trained on them; else None. per_epoch:
    number of them in each epoch, None: all; the first n_always are in every one, the others drawn.
    """

    items: list[LabelledSample]
    targets: list[Tensor]
    steps: list[Tensor] | None = None
    per_epoch: int | None = None
    n_always: int = 0


_DRAWN = 8  # at most so many times the random parts and windows of an epoch are drawn
_MOST_DRAWN = 50_000  # parts and windows in memory; large sets need no others in each epoch


def _n_drawn(per_epoch: int) -> int:
    return max(1, min(_DRAWN, _MOST_DRAWN // max(1, per_epoch)))


def training_clips(
    items: list[LabelledSample], task: Task, labels: Sequence[str], settings: TrainSettings
) -> TrainingClips:
    """The clips as they are trained on: whole, or windows of tasks with rows for each step."""
    targets = [task.training_targets(item.row, item.sample.n_steps, labels) for item in items]
    if task.per_clip:
        return TrainingClips(items, targets)
    if task.whole_clips:
        return with_parts(items, targets, task, labels, settings.seed)
    if task.history_steps is not None:
        return draw_windows(items, targets, task.history_steps, settings.seed)
    return TrainingClips(*cut_into_windows(items, targets, settings.window_steps))


def with_parts(
    items: list[LabelledSample],
    targets: list[Tensor],
    task: Task,
    labels: Sequence[str],
    seed: int,
) -> TrainingClips:
    """The clips, and random parts of them that the task trains on too."""
    rng = np.random.default_rng(seed)
    steps = [task.step_targets(item.row, item.sample.n_steps, labels) for item in items]
    parts, of_parts, of_steps = list(items), list(targets), list(steps)

    def draw() -> None:
        for item, classes in zip(items, steps, strict=True):
            drawn = task.training_parts(item.row, item.sample.n_steps, labels, rng)
            for start, end, of_part in drawn:
                parts.append(replace(item, sample=item.sample.steps(start, end)))
                of_parts.append(of_part)
                of_steps.append(classes[start:end])

    draw()
    per_epoch = len(parts)
    for _ in range(_n_drawn(per_epoch) - 1):
        draw()
    return TrainingClips(parts, of_parts, of_steps, per_epoch, n_always=len(items))


LEAST_BATCHES, _LEAST_WINDOWS = 8, 4
"""Batches in an epoch of windows: a few long files would give too few steps of the optimiser."""
_WINDOWS_PER_LENGTH = 8  # windows in an epoch for as many steps as one has


def draw_windows(
    items: Sequence[LabelledSample], targets: Sequence[Tensor], n_steps: int, seed: int
) -> TrainingClips:
    """Draw random windows of n_steps, of which only the last step has known targets.

    targets: int64 [T · rows per step] of each clip.
    """
    rng = np.random.default_rng(seed)
    per_epoch = sum(-(-i.sample.n_steps * _WINDOWS_PER_LENGTH // n_steps) for i in items)
    n_epochs = _n_drawn(per_epoch)
    windows: list[LabelledSample] = []
    drawn_targets: list[Tensor] = []
    for item, of_clip in zip(items, targets, strict=True):
        total = item.sample.n_steps
        per_step = of_clip.shape[0] // total
        n_windows = -(-total * _WINDOWS_PER_LENGTH // n_steps)
        for end in rng.integers(1, total + 1, n_epochs * n_windows).tolist():
            start = max(0, end - n_steps)
            last = torch.full(((end - start) * per_step,), UNKNOWN)
            last[-per_step:] = of_clip[(end - 1) * per_step : end * per_step]
            windows.append(replace(item, sample=item.sample.steps(start, end)))
            drawn_targets.append(last)
    return TrainingClips(windows, drawn_targets, per_epoch=per_epoch)


_MOST_WORKERS = 4  # processes that decode JPEGs


class ClipBatches(Dataset[Batch]):
    """A dataset of whole batches: an item is given by a list of clip indices."""

    def __init__(self, clips: TrainingClips) -> None:
        self._samples: list[Sample] = [item.sample for item in clips.items]
        self._targets, self._steps = clips.targets, clips.steps

    @property
    def has_jpegs(self) -> bool:
        """Whether there are frames to decode, since the frame encoder is trained too."""
        return any(sample.jpegs for sample in self._samples)

    def __getitem__(self, indices: list[int]) -> Batch:
        samples = [self._samples[i] for i in indices]
        if self.has_jpegs:
            # only now, since decoded frames take far more memory than JPEGs
            samples = [sample.with_frames() for sample in samples]
        steps = None if self._steps is None else torch.cat([self._steps[i] for i in indices])
        return Batch(samples, torch.cat([self._targets[i] for i in indices]), steps)


class EpochBatches(Sampler[list[int]]):
    """Yields lists of indices in an order that depends on the epoch only."""

    def __init__(self, buckets: LengthBuckets, epoch: Callable[[], int]) -> None:
        # a callback, not set_epoch(): Lightning passes another number there when it resumes
        self._buckets, self._epoch = buckets, epoch

    def __len__(self) -> int:
        return len(self._buckets.epoch(0))  # all epochs have the same number of batches

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._buckets.epoch(self._epoch())


def loader_order(clips: TrainingClips, config: Config) -> list[int]:
    """Indices of the clips in the order of a `batch_loader` without shuffling by epoch."""
    return [index for batch in _buckets(clips, config).epoch(0) for index in batch]


def _buckets(clips: TrainingClips, config: Config, least_batches: int = 1) -> LengthBuckets:
    lengths = [item.sample.n_steps for item in clips.items]
    least = 1 if least_batches == 1 else _LEAST_WINDOWS
    in_epoch = len(lengths) if clips.per_epoch is None else clips.per_epoch
    batch_size = min(config.train.batch_size, max(least, in_epoch // least_batches))
    return LengthBuckets(lengths, batch_size, config.train.seed, clips.per_epoch, clips.n_always)


def batch_loader(
    clips: TrainingClips,
    config: Config,
    epoch: Callable[[], int] = lambda: 0,
    least_batches: int = 1,
) -> DataLoader[Batch]:
    """Loader of batches of clips; epoch: called at the start of each epoch, sets its order.

    least_batches: number of batches in an epoch; if there would be fewer, they are made smaller.
    """
    dataset = ClipBatches(clips)
    order = EpochBatches(_buckets(clips, config, least_batches), epoch)
    # everything but JPEGs is in memory already
    workers = min(_MOST_WORKERS, count_cores()) if dataset.has_jpegs else 0
    return DataLoader(
        # batch_size None: an item of the dataset already is a batch
        dataset, batch_size=None, sampler=order, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=False,
    )  # fmt: skip
