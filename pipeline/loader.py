"""Batches of prepared clips for training: in memory, bucketed by length, reproducible."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.config import Config
from pipeline.lightning_module import Batch
from pipeline.samples import LengthBuckets, Sample
from pipeline.training_data import LabelledSample


class ClipLoader(Dataset[Batch]):
    """One item is one batch, chosen by LengthBuckets for the current epoch."""

    def __init__(
        self, samples: list[LabelledSample], labels: tuple[str, ...], batch: int, seed: int | None
    ) -> None:
        self._samples: list[Sample] = [item.sample for item in samples]
        self._targets = torch.tensor([labels.index(item.row.label) for item in samples])
        self._buckets = LengthBuckets([s.n_steps for s in self._samples], batch, seed or 0)
        self._shuffled = seed is not None
        self._batches = self._buckets.epoch(0)

    def set_epoch(self, epoch: int) -> None:
        if self._shuffled:
            self._batches = self._buckets.epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        chosen = self._batches[index]
        return [self._samples[i] for i in chosen], self._targets[chosen]


def loader(
    samples: list[LabelledSample], labels: tuple[str, ...], config: Config, shuffle: bool
) -> DataLoader[Batch]:
    """Batches in memory; no workers, since the clips are already there."""
    dataset = ClipLoader(
        samples, labels, config.train.batch_size, config.train.seed if shuffle else None
    )
    return DataLoader(dataset, batch_size=None, shuffle=False, num_workers=0)
