"""What a worker of a crossval and its parent say to each other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow
from pipeline.checkpoints.card import ModelCard
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.config import Config
from pipeline.crossvalidation.division import Division
from pipeline.crossvalidation.networks import Network, Trainer
from pipeline.encoding.mapped_samples import map_samples
from pipeline.training.training_data import LabelledSample


@dataclass(frozen=True)
class WorkerSetup:
    """What all networks share; the first message."""

    card: ModelCard
    config: Config
    rows: list[ManifestRow]
    fold_of: dict[str, str]
    gap_s: float
    samples: Path
    """Where the samples of `rows` were written; see `mapped_samples`."""

    def trainer(self) -> Trainer:
        """The same as the parent's, but for its samples, which are mapped."""
        samples = map_samples(self.samples)
        items = [LabelledSample(*pair) for pair in zip(self.rows, samples, strict=True)]
        division = Division(items, self.fold_of, self.gap_s)
        return Trainer(self.card, build_front_end(self.card), division, self.config)


@dataclass(frozen=True)
class NetworkJob:
    """A network to train until the last of these epochs."""

    network: Network
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class NetworkTrained:
    """The answer to a job; error: what ended the training, to be raised by the parent."""

    error: Exception | None = None

    @classmethod
    def failed(cls, error: Exception) -> NetworkTrained:
        """With the error itself, or its text where it cannot be sent."""
        try:
            copy.deepcopy(error)  # made anew as it is from a message
        except Exception:  # noqa: BLE001 - whatever its class does then
            return cls(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(error)
