"""The networks of a crossval, one for each fold and seed, and their training."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier
from models.output import FusionWeights
from pipeline.checkpoints.checkpoint import build_classifier
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.crossval.fold_outputs import FoldFile, FoldModel, fold_path, read_fold, write_fold
from pipeline.reporter import ProgressReporter, SilentReporter
from pipeline.training.fit import EpochSnapshot, fit, predict_outputs
from pipeline.training.lightning_module import ClipTraining

_EPOCH_SHARES = (
    1 / 8,
    1 / 4,
    1 / 2,
    3 / 4,
    1.0,
)  # shares of max_epochs; more would overfit the choice


def fold_models(folder: Path, folds: list[str], seeds: int) -> list[FoldModel]:
    """One network for each fold and seed."""
    return [
        FoldModel(seed, fold, folder / f"fold-{number}-seed-{seed}")
        for number, fold in enumerate(folds)
        for seed in range(seeds)
    ]


def final_models(folder: Path, seeds: int) -> list[FoldModel]:
    """One network for each seed, trained on all clips."""
    return [FoldModel(seed, None, folder / f"all-seed-{seed}") for seed in range(seeds)]


def candidate_epochs(max_epochs: int) -> tuple[int, ...]:
    """Numbers of epochs to choose from."""
    return tuple(sorted({math.ceil(share * max_epochs) for share in _EPOCH_SHARES}))


TrainAll = Callable[[Sequence[FoldModel], tuple[int, ...]], Iterator[FoldModel]]
"""Trains networks until the last of these epochs; yields each when its files are written."""


@dataclass(frozen=True)
class Trainer:
    """Trains networks with the same clips and settings."""

    card: ModelCard
    front_end: AudioFrontEnd
    assignment: FoldAssignment
    config: Config

    def train(
        self,
        networks: list[FoldModel],
        epochs: Sequence[int],
        title: str,
        progress: ProgressReporter,
        train_all: TrainAll | None = None,
    ) -> dict[FoldModel, dict[int, FoldFile]]:
        """{network: {epochs: file}}; networks whose files are missing are trained first.

        epochs: the last of them ends the training. train_all: trains the missing networks; by
        default `one_by_one`.
        """
        found = {network: _read_all(network, epochs) for network in networks}
        missing = [network for network, kept in found.items() if not kept]
        progress.start(title, len(networks), len(networks) - len(missing))
        for network in (train_all or self.one_by_one)(missing, tuple(epochs)):
            # through the file, even for networks trained in this process
            found[network] = _read_all(network, epochs)
            progress.advance(1)
        progress.finish()
        return found

    def one_by_one(
        self, networks: Sequence[FoldModel], epochs: tuple[int, ...]
    ) -> Iterator[FoldModel]:
        """Train these networks in this process; yields each when its files are written."""
        for network in networks:
            self.train_one(network, epochs)
            yield network

    def members(
        self, folds: Iterable[FoldFile], weights: FusionWeights
    ) -> list[AudioVisualClassifier]:
        """The networks as modules, with these fusion weights."""
        members = []
        for fold in folds:
            member = build_classifier(self.card, self.front_end)
            member.load_state_dict(fold.state)
            member.set_fusion_weights(weights)
            members.append(member)
        return members

    def train_one(self, network: FoldModel, epochs: tuple[int, ...]) -> None:
        """Train a network and write its files. Raises UserError as `fit` does."""
        train = self.config.train
        # patience None: there are no validation clips
        train = train.model_copy(update={"seed": train.seed + network.seed, "patience": None})
        config = self.config.model_copy(update={"train": train})
        held_out = self.assignment.inside(network.held_out_fold)

        def take(epoch: int, module: ClipTraining) -> None:
            state = module.averaged_classifier.state_dict() if self._needs_weights(network) else {}
            outputs = predict_outputs(module, held_out) if held_out else {}
            fold = FoldFile(state, [item.row.id for item in held_out], outputs)
            write_fold(fold_path(network.folder, epoch), fold)

        others, watch = self.assignment.outside(network.held_out_fold), EpochSnapshot(epochs, take)
        for _ in range(2):  # again from the start if the first attempt cannot write all files
            fit(
                self.card, self.front_end, others, [], config, network.folder, SilentReporter(),
                watch=watch,
            )  # fmt: skip
            if _read_all(network, epochs):
                break
            # a file of an earlier epoch is damaged, and a resumed training would not write it again
            shutil.rmtree(network.folder)
        for leftover in ("training", "tensorboard"):  # only needed to resume this network
            shutil.rmtree(network.folder / leftover, ignore_errors=True)

    def _needs_weights(self, network: FoldModel) -> bool:
        """Whether the network may become part of the final model."""
        return network.held_out_fold is None or self.config.crossval.final == "ensemble"


def _read_all(network: FoldModel, epochs: Sequence[int]) -> dict[int, FoldFile]:
    """{epochs: file} of a network; empty unless all of them are on disk."""
    found = {epoch: read_fold(fold_path(network.folder, epoch)) for epoch in epochs}
    complete = {epoch: fold for epoch, fold in found.items() if fold is not None}
    return complete if len(complete) == len(found) else {}
