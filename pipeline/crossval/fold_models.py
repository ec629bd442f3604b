"""What one network of a crossval leaves on disk after some of its epochs: its answers to the clips
that it was not trained on, and its weights where they may be needed.

The networks of a crossval: which there are, training those that are not trained yet.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_prep.files import replacing
from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier
from models.output import ClassifierOutput, FusionWeights
from pipeline.checkpoints.checkpoint import build_classifier
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.reporter import ProgressReporter, SilentReporter
from pipeline.training.calibration import ModelOutputs
from pipeline.training.fit import EpochSnapshot, fit, predict_outputs
from pipeline.training.lightning_module import ClipTraining

_NET, _OUTPUTS, _OWN, _PRESENT, _JOINT = "net.", "said.", "own.", "present.", "joint"


@dataclass(frozen=True)
class FoldFile:
    """A network after an epoch, and what it says of the clips that it was not trained on.

    state: its weights, empty where nothing needs them; ids: of N clips; said: of them,
    empty where there are none.
    """

    state: dict[str, Tensor]
    ids: Sequence[str] = ()
    outputs: ModelOutputs = field(default_factory=dict)


def fold_path(folder: Path, epoch: int) -> Path:
    """The file of a network after so many epochs."""
    return folder / f"epoch-{epoch:03d}.safetensors"


def write_fold(path: Path, fold: FoldFile) -> None:
    """Write by temporary file and rename."""
    tensors = _named(_NET, fold.state)
    for situation, answers in fold.outputs.items():
        parts = _named(_OWN, answers.unimodal) | _named(_PRESENT, answers.present)
        parts[_JOINT] = answers.fused
        tensors |= _named(f"{_OUTPUTS}{situation}.", parts)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, metadata={"ids": json.dumps(list(fold.ids))}))


def read_fold(path: Path) -> FoldFile | None:
    """None where it is not there or damaged: it is made anew."""
    try:
        with safe_open(path, framework="pt") as file:
            ids = json.loads((file.metadata() or {}).get("ids", "[]"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError, ValueError):
        return None
    said = {}
    for situation in {name.partition(".")[0] for name in _part(_OUTPUTS, tensors)}:
        parts = _part(f"{_OUTPUTS}{situation}.", tensors)
        said[situation] = ClassifierOutput(
            parts[_JOINT], _part(_OWN, parts), _part(_PRESENT, parts)
        )
    return FoldFile(_part(_NET, tensors), ids, said)


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


_WATCHED = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


@dataclass(frozen=True)
class FoldModel:
    """One network: its seed's number, the fold it is not trained on (None: on all clips)."""

    seed: int
    held_out_fold: str | None
    folder: Path


def fold_models(folder: Path, folds: list[str], seeds: int) -> list[FoldModel]:
    """One for each fold and seed."""
    return [
        FoldModel(seed, fold, folder / f"fold-{number}-seed-{seed}")
        for number, fold in enumerate(folds)
        for seed in range(seeds)
    ]


def final_models(folder: Path, seeds: int) -> list[FoldModel]:
    """One for each seed, trained on all clips."""
    return [FoldModel(seed, None, folder / f"all-seed-{seed}") for seed in range(seeds)]


def candidate_epochs(max_epochs: int) -> tuple[int, ...]:
    """The epochs among which the folds choose: few, so that little can be chosen by luck."""
    return tuple(sorted({math.ceil(share * max_epochs) for share in _WATCHED}))


TrainAll = Callable[[Sequence[FoldModel], tuple[int, ...]], Iterator[FoldModel]]
"""Trains networks until the last of these epochs, and names each whose files are on disk."""


@dataclass(frozen=True)
class Trainer:
    """What all networks share."""

    card: ModelCard
    front_end: AudioFrontEnd
    division: FoldAssignment
    config: Config

    def train(
        self,
        networks: list[FoldModel],
        epochs: Sequence[int],
        title: str,
        progress: ProgressReporter,
        train_all: TrainAll | None = None,
    ) -> dict[FoldModel, dict[int, FoldFile]]:
        """All networks as they are after each of these epochs, the last of which ends their
        training; those that are on disk are read from there.

        train_all: trains the others, by `train_one` where it is not given.
        """
        found = {network: _read(network, epochs) for network in networks}
        waiting = [network for network, kept in found.items() if not kept]
        progress.start(title, len(networks), len(networks) - len(waiting))
        for network in (train_all or self.one_by_one)(waiting, tuple(epochs)):
            found[network] = _read(network, epochs)
            progress.advance(1)
        progress.finish()
        return found

    def one_by_one(
        self, networks: Sequence[FoldModel], epochs: tuple[int, ...]
    ) -> Iterator[FoldModel]:
        """Train these here; each is named when its files are on disk."""
        for network in networks:
            self.train_one(network, epochs)
            yield network

    def members(
        self, folds: Iterable[FoldFile], weights: FusionWeights
    ) -> list[AudioVisualClassifier]:
        """The networks themselves, with what their answers count for."""
        members = []
        for fold in folds:
            member = build_classifier(self.card, self.front_end)
            member.load_state_dict(fold.state)
            member.set_fusion_weights(weights)
            members.append(member)
        return members

    def train_one(self, network: FoldModel, epochs: tuple[int, ...]) -> None:
        """Train a network until its files are on disk. Raises UserError as `fit` does."""
        train = self.config.train
        # no clips are held back that could choose an epoch
        train = train.model_copy(update={"seed": train.seed + network.seed, "patience": None})
        config = self.config.model_copy(update={"train": train})
        own = self.division.inside(network.held_out_fold)

        def take(epoch: int, module: ClipTraining) -> None:
            state = module.averaged_classifier.state_dict() if self._needs_weights(network) else {}
            said = predict_outputs(module, own) if own else {}
            fold = FoldFile(state, [item.row.id for item in own], said)
            write_fold(fold_path(network.folder, epoch), fold)

        others, watch = self.division.outside(network.held_out_fold), EpochSnapshot(epochs, take)
        for _ in range(2):
            fit(
                self.card, self.front_end, others, [], config, network.folder, SilentReporter(),
                watch=watch,
            )  # fmt: skip
            if _read(network, epochs):
                break
            # A file was damaged of an epoch that the training state had left behind.
            shutil.rmtree(network.folder)
        for leftover in ("training", "tensorboard"):
            shutil.rmtree(network.folder / leftover, ignore_errors=True)

    def _needs_weights(self, network: FoldModel) -> bool:
        """Whether the network may become part of the model for use."""
        return network.held_out_fold is None or self.config.crossval.final == "ensemble"


def _read(network: FoldModel, epochs: Sequence[int]) -> dict[int, FoldFile]:
    """What is on disk after all of these epochs; empty where that is not all of it."""
    found = {epoch: read_fold(fold_path(network.folder, epoch)) for epoch in epochs}
    there = {epoch: fold for epoch, fold in found.items() if fold is not None}
    return there if len(there) == len(found) else {}
