"""Batches of prepared clips for training: in memory, bucketed by length, reproducible."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.encoding.samples import LengthBuckets, Sample
from pipeline.training.lightning_module import Batch
from pipeline.training.training_data import LabelledSample

_MOST_WORKERS = 4


class ClipBatches(Dataset[Batch]):
    """One item is one batch: the clips of a list of indices."""

    def __init__(self, samples: list[LabelledSample], labels: tuple[str, ...]) -> None:
        self._samples: list[Sample] = [item.sample for item in samples]
        self._targets = torch.tensor([labels.index(item.row.label) for item in samples])

    @property
    def has_jpegs(self) -> bool:
        """Whether the frame encoder is trained too and needs the frames themselves."""
        return any(sample.jpegs for sample in self._samples)

    def __getitem__(self, indices: list[int]) -> Batch:
        samples = [self._samples[i] for i in indices]
        if self.has_jpegs:
            samples = [sample.with_frames() for sample in samples]
        return samples, self._targets[indices]


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


def shown_order(samples: list[LabelledSample], config: Config) -> list[int]:
    """The clips' places in the order in which `loader` gives them, where epochs are alike."""
    return [place for batch in _buckets(samples, config).epoch(0) for place in batch]


def _buckets(samples: list[LabelledSample], config: Config) -> LengthBuckets:
    lengths = [item.sample.n_steps for item in samples]
    return LengthBuckets(lengths, config.train.batch_size, config.train.seed)


def loader(
    samples: list[LabelledSample],
    labels: tuple[str, ...],
    config: Config,
    epoch: Callable[[], int] = lambda: 0,
) -> DataLoader[Batch]:
    """Batches of clips in memory; workers only where JPEGs have to be decoded meanwhile."""
    dataset = ClipBatches(samples, labels)
    order = EpochBatches(_buckets(samples, config), epoch)
    workers = min(_MOST_WORKERS, count_cores()) if dataset.has_jpegs else 0
    return DataLoader(
        dataset, batch_size=None, sampler=order, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=False,
    )  # fmt: skip
