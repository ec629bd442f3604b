"""Warm start (`train --from RUN`): initial weights from a trained run.

The network stays the same except for its output layers, which get a row for each new label. The
statistics that standardise the features stay those of the earlier training clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data_prep.settings import TaskSettings
from models.classifier import AudioVisualClassifier
from models.settings import ModelSettings
from pipeline.checkpoints.checkpoint import load_model
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.storage.workspace import PrepRecord


@dataclass(frozen=True)
class WarmStart:
    """A trained run to start from; of an ensemble, its first network."""

    card: ModelCard
    state: dict[str, Tensor]
    digest: str
    run: Path | None = None

    def load_into(self, classifier: AudioVisualClassifier, labels: tuple[str, ...]) -> None:
        """Load the weights into a network for `labels`; rows of new labels keep their values."""
        common = [(k, self.card.labels.index(y)) for k, y in enumerate(labels) if self._knows(y)]
        # reshape: without any common label the tensor has a single, empty dimension
        new_rows, old_rows = torch.tensor(common, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
        fresh = classifier.state_dict()
        for name, value in self.state.items():  # output layers are [K, …] and [K]
            if _is_output_layer(name):
                fresh[name][new_rows] = value[old_rows]
            elif _is_input_of_classes(name):  # [C, K, 1]
                fresh[name][:, new_rows] = value[:, old_rows]
            else:
                fresh[name] = value
        classifier.load_state_dict(fresh)

    def _knows(self, label: str) -> bool:
        return label in self.card.labels


def _is_output_layer(name: str) -> bool:
    """Whether a tensor has a row for each label: the last layers of the heads and their stages."""
    path = name.split(".")
    return path[0] in ("head", "unimodal") and (
        path[-2] == "linear" or (path[1] == "stages" and path[-2] == "out")
    )


def _is_input_of_classes(name: str) -> bool:
    """Whether a tensor has a column for each label: the first layers of refinement stages."""
    path = name.split(".")
    return path[:2] == ["head", "stages"] and path[-2:] == ["into", "weight"]


def open_warm_start(run: Path, record: PrepRecord, config: Config) -> WarmStart:
    """Open the run to start from. Raises UserError if clips or settings do not match it."""
    model = load_model(run)
    card = model.card
    if card.frames_from_jpegs or config.model.trainable_blocks:
        raise UserError(
            f"--from {run} needs a frozen frame encoder, but that of the run was fine-tuned, or "
            "model.trainable_blocks is above 0"
        )
    theirs, ours = (card.clip.model_dump(), record.clip.model_dump())
    different = [f"clip.{key}={theirs[key]} (here {ours[key]})" for key in ours
                 if theirs[key] != ours[key]]  # fmt: skip
    if card.encoder != record.encoder:
        different.append(
            f"frame encoder {card.encoder.name} {card.encoder.weights_digest} in "
            f"{card.encoder.backend} {card.encoder.precision} (here {record.encoder.name} "
            f"{record.encoder.weights_digest} in {record.encoder.backend} "
            f"{record.encoder.precision})"
        )
    if different:
        raise UserError(
            f"--from {run}: it was trained with {', '.join(different)}; prepare the clips with the "
            "same settings into another folder"
        )
    _refuse_other_network(card.model, run, config)
    _refuse_other_task(card, run, config.task)
    return WarmStart(card, dict(model.classifier.first.state_dict()), model.digest, run)


def _refuse_other_task(card: ModelCard, run: Path, asked: TaskSettings) -> None:
    """Raise UserError if the heads of the two tasks have other outputs."""
    theirs = TaskSettings.model_validate({**card.task_settings, "name": card.task})
    keys = {"forecast": ("name", "form", "history_steps", "horizon_steps", "target")}.get(
        asked.name, ("name",)
    )
    for key in keys:
        value, of_run = getattr(asked, key), getattr(theirs, key)
        if value != of_run:
            raise UserError(
                f"--from {run}: it was trained with task.{key}={of_run}, not {value}; a training "
                "can start from a run of the same task only"
            )
    if card.get_task().decodes:
        raise UserError(
            f"--from {run}: a training of task={card.task} cannot start from another run"
        )


def _refuse_other_network(settings: ModelSettings, run: Path, config: Config) -> None:
    for key, value in config.explicit("model").items():
        of_run = getattr(settings, key)
        # frame_weights may have moved: encoders are compared by digest
        if key != "frame_weights" and value != of_run:
            raise UserError(
                f"--from {run}: model.{key}={value} asks for another network than that of the run "
                f"({of_run}); leave the key out"
            )
