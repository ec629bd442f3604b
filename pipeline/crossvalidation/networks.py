"""The networks of a crossval: which there are, training those that are not trained yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.audio_front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier
from pipeline.checkpoints.card import ModelCard
from pipeline.checkpoints.checkpoint import build_classifier
from pipeline.config import Config
from pipeline.crossvalidation.fold_file import FoldFile, read_fold, write_fold
from pipeline.reporting import Reporter, Silent
from pipeline.training.fit import fit
from pipeline.training.training_data import LabelledSample


@dataclass(frozen=True)
class Division:
    """All clips, and which fold each is in."""

    items: list[LabelledSample]
    fold_of: dict[str, str]
    """Clip id → name of its fold."""

    @property
    def folds(self) -> list[str]:
        return sorted(set(self.fold_of.values()))

    def inside(self, fold: str | None) -> list[LabelledSample]:
        return [item for item in self.items if self.fold_of[item.row.id] == fold]

    def outside(self, fold: str | None) -> list[LabelledSample]:
        return [item for item in self.items if self.fold_of[item.row.id] != fold]


@dataclass(frozen=True)
class Network:
    """One network: its seed's number, the fold it is not trained on (None: on all clips)."""

    seed: int
    without: str | None
    folder: Path


def plan_networks(folder: Path, folds: list[str], seeds: int, on_all: bool) -> list[Network]:
    """One for each fold and seed; with on_all, one more for each seed, trained on all clips."""
    networks = [
        Network(seed, fold, folder / f"fold-{number}-seed-{seed}")
        for number, fold in enumerate(folds)
        for seed in range(seeds)
    ]
    if on_all:
        networks += [Network(seed, None, folder / f"all-seed-{seed}") for seed in range(seeds)]
    return networks


@dataclass(frozen=True)
class Trainer:
    """What all networks share."""

    card: ModelCard
    front_end: AudioFrontEnd
    division: Division
    config: Config

    def train(self, networks: list[Network], report: Reporter) -> dict[Network, FoldFile]:
        """All networks, those that are on disk read from there."""
        found = {network: read_fold(network.folder) for network in networks}
        report.start("training networks", len(networks), sum(map(bool, found.values())))
        done: dict[Network, FoldFile] = {}
        for network, fold in found.items():
            done[network] = fold if fold is not None else self._train_one(network)
            if fold is None:
                report.advance(1)
        report.finish()
        return done

    def members(
        self, folds: Iterable[FoldFile], weights: dict[str, float]
    ) -> list[AudioVisualClassifier]:
        """The networks themselves, with what their answers count for."""
        members = []
        for fold in folds:
            member = build_classifier(self.card, self.front_end)
            member.load_state_dict(fold.state)
            member.weigh(weights)
            members.append(member)
        return members

    def _train_one(self, network: Network) -> FoldFile:
        train = self.config.train
        # no clips are held back that could choose an epoch
        train = train.model_copy(update={"seed": train.seed + network.seed, "patience": None})
        config = self.config.model_copy(update={"train": train})
        others = self.division.outside(network.without)
        fitted = fit(self.card, self.front_end, others, [], config, network.folder, Silent())
        own = self.division.inside(network.without)
        answers = fitted.answers(own) if own else None
        fold = FoldFile(fitted.classifier.state_dict(), [item.row.id for item in own], answers)
        write_fold(network.folder, fold)
        for leftover in ("training", "tensorboard"):
            shutil.rmtree(network.folder / leftover, ignore_errors=True)
        return fold
