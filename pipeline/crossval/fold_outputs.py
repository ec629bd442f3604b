"""Outputs of the folds' networks for held-out clips: on disk, joined, calibrated, postprocessed.

After each candidate number of epochs, a network's file holds its outputs for the held-out clips,
and its weights if they may become part of the final model.
Neither the networks that predict a clip nor what is fitted on held-out outputs for it (epoch,
calibration, postprocessing) use the clips of its fold as examples. The outputs of the other folds,
on which these are fitted, are by networks that were trained on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_prep.clip import BoolArray
from data_prep.files import replacing
from data_prep.segments import UNKNOWN
from models.output import ALL_MODALITIES, ClassifierOutput
from pipeline.checkpoints.model_card import ModelCard
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.storage.predictions import Probabilities
from pipeline.tasks.base import HeldOutRows, Task
from pipeline.training.calibration import Calibration, HeldOutOutputs, ModelOutputs
from pipeline.training.fit import clip_targets


@dataclass(frozen=True)
class FoldModel:
    """One network: seed, and the fold that is held out of its training (None: no fold)."""

    seed: int
    held_out_fold: str | None
    folder: Path


# prefixes of tensor names; files of earlier versions are read too, so they stay
_NET, _OUTPUTS, _UNIMODAL, _PRESENT, _FUSED = "net.", "said.", "own.", "present.", "joint"


@dataclass(frozen=True)
class FoldFile:
    """A network after some epochs, and its outputs for the held-out clips.

    state: its weights, empty if they are not needed; ids: of the N held-out clips; outputs: of
    these clips, empty if there are none.
    """

    state: dict[str, Tensor]
    ids: Sequence[str] = ()
    outputs: ModelOutputs = field(default_factory=dict)


def fold_path(folder: Path, epoch: int) -> Path:
    """The file of a network after this number of epochs."""
    return folder / f"epoch-{epoch:03d}.safetensors"


def write_fold(path: Path, fold: FoldFile) -> None:
    """Write a file by temporary file and rename."""
    # safetensors has a flat namespace, so dictionaries become prefixes
    tensors = _with_prefix(_NET, fold.state)
    for subset, output in fold.outputs.items():
        parts = _with_prefix(_UNIMODAL, output.unimodal) | _with_prefix(_PRESENT, output.present)
        parts[_FUSED] = output.fused
        tensors |= _with_prefix(f"{_OUTPUTS}{subset}.", parts)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, metadata={"ids": json.dumps(list(fold.ids))}))


def read_fold(path: Path) -> FoldFile | None:
    """Read a file; None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            ids = json.loads((file.metadata() or {}).get("ids", "[]"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError, ValueError):
        return None  # the network is trained again
    outputs = {}
    for subset in {name.partition(".")[0] for name in _without_prefix(_OUTPUTS, tensors)}:
        parts = _without_prefix(f"{_OUTPUTS}{subset}.", tensors)
        outputs[subset] = ClassifierOutput(
            parts[_FUSED], _without_prefix(_UNIMODAL, parts), _without_prefix(_PRESENT, parts)
        )
    return FoldFile(_without_prefix(_NET, tensors), ids, outputs)


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


@dataclass(frozen=True)
class EpochSelection:
    """A number of epochs, and the calibration of the networks after these."""

    epoch: int
    calibration: Calibration


@dataclass(frozen=True)
class FoldOutputs:
    """Out-of-fold outputs for all clips after several numbers of epochs.

    by_epoch: number of epochs → outputs of the networks of each seed. learnable bool [N]: whether
    the networks that predict a clip were trained on its label.
    """

    by_epoch: Mapping[int, HeldOutOutputs]
    learnable: Tensor

    def select(self, index: Tensor) -> FoldOutputs:
        """The outputs for some of the clips; index bool [N]."""
        by_epoch = {epoch: outputs.select(index) for epoch, outputs in self.by_epoch.items()}
        return FoldOutputs(by_epoch, self.learnable[index])

    def select_seeds(self, chosen: Sequence[int]) -> FoldOutputs:
        """The outputs of some of the seeds."""
        by_epoch = {
            epoch: HeldOutOutputs([outputs.outputs[seed] for seed in chosen], outputs.targets)
            for epoch, outputs in self.by_epoch.items()
        }
        return FoldOutputs(by_epoch, self.learnable)

    @property
    def modalities(self) -> list[str]:
        """Modalities that can be masked; empty for a model of a single one."""
        return [name for name in self._first.outputs[0] if name != ALL_MODALITIES]

    def with_modality(self, modality: str) -> tuple[FoldOutputs, BoolArray]:
        """(outputs for the clips with only this modality, bool [N]: which of them have both)."""
        by_epoch = {
            epoch: HeldOutOutputs(
                [{**one, ALL_MODALITIES: one[modality]} for one in outputs.outputs],
                outputs.targets,
            )
            for epoch, outputs in self.by_epoch.items()
        }
        # a clip that lacks the other modality would only repeat its usual prediction
        has_both = np.logical_and.reduce(
            [p.numpy() for p in self._first.all_modalities[0].present.values()]
        )
        return FoldOutputs(by_epoch, self.learnable), has_both

    @property
    def _first(self) -> HeldOutOutputs:
        return next(iter(self.by_epoch.values()))

    def select_epoch(self) -> EpochSelection:
        """The epoch and its calibration with the lowest cross-entropy of the labels."""
        # clips of labels unseen in training get worse with each epoch, whatever the others do
        used = self.learnable if bool(self.learnable.any()) else self._first.targets != UNKNOWN
        by_epoch = {epoch: outputs.select(used) for epoch, outputs in self.by_epoch.items()}
        choices = [
            EpochSelection(epoch, outputs.calibrate())
            for epoch, outputs in sorted(by_epoch.items())
        ]
        return min(choices, key=lambda choice: by_epoch[choice.epoch].loss(choice.calibration))

    def probabilities(self, choice: EpochSelection) -> Probabilities:
        """float64 [N, K], with a choice that was made on other clips."""
        probabilities = self.by_epoch[choice.epoch].probabilities(choice.calibration)
        return np.asarray(probabilities.numpy(), dtype=np.float64)


def fold_outputs(
    assignment: FoldAssignment,
    trained: Mapping[FoldModel, Mapping[int, FoldFile]],
    targets: Sequence[Tensor],
) -> FoldOutputs:
    """Join the outputs of the folds' models into outputs for all clips.

    targets: class indices of each clip, int64 [N], one for each row of its logits.
    """
    seeds = sorted({model.seed for model in trained})
    epochs = sorted(next(iter(trained.values())))
    of_clip = {
        item.row.id: of_rows for item, of_rows in zip(assignment.items, targets, strict=True)
    }
    learned = {
        fold: torch.cat([of_clip[item.row.id] for item in assignment.outside(fold)])
        for fold in assignment.folds
    }
    learnable = torch.cat([
        torch.isin(of_clip[item.row.id], learned[assignment.fold_of[item.row.id]])
        for item in assignment.items
    ])  # fmt: skip
    learnable &= torch.cat(list(targets)) != UNKNOWN
    by_epoch = {
        epoch: HeldOutOutputs(
            [_join_folds(assignment, trained, of_clip, seed, epoch) for seed in seeds],
            torch.cat(list(targets)),
        )
        for epoch in epochs
    }
    return FoldOutputs(by_epoch, learnable)


def out_of_fold(
    outputs: FoldOutputs, assignment: FoldAssignment, n_rows: Sequence[int] | None = None
) -> Probabilities:
    """Out-of-fold probabilities float64 [N, K]; n_rows: rows of logits of each clip, None: one.

    Epoch and calibration of each fold are chosen on the clips of the other folds.
    """
    fold_of = np.array([assignment.fold_of[item.row.id] for item in assignment.items])
    fold_of = fold_of if n_rows is None else fold_of.repeat(n_rows)  # [N rows]
    some = next(iter(outputs.by_epoch.values())).all_modalities[0].fused
    probabilities = np.zeros(tuple(some.shape))  # [N, K]
    for fold in assignment.folds:
        # nested: the held-out fold has no part in its own choice of epoch and calibration
        inside = torch.from_numpy(fold_of == fold)
        choice = outputs.select(~inside).select_epoch()
        probabilities[fold_of == fold] = outputs.select(inside).probabilities(choice)
    return probabilities


def _join_folds(
    assignment: FoldAssignment,
    trained: Mapping[FoldModel, Mapping[int, FoldFile]],
    targets: Mapping[str, Tensor],
    seed: int,
    epoch: int,
) -> ModelOutputs:
    """Outputs of one seed's models after an epoch, in the order of the clips."""
    folds = [after[epoch] for model, after in trained.items() if model.seed == seed]
    rows: dict[str, Tensor] = {}  # clip id → its rows in the concatenated outputs
    n_rows = 0
    for key in (key for fold in folds for key in fold.ids):
        rows[key] = torch.arange(n_rows, n_rows + targets[key].shape[0])
        n_rows += targets[key].shape[0]
    index = torch.cat([rows[item.row.id] for item in assignment.items])
    return {
        subset: ClassifierOutput.concat([fold.outputs[subset] for fold in folds]).select(index)
        for subset in folds[0].outputs
    }


def fold_tasks(card: ModelCard, assignment: FoldAssignment) -> dict[str, Task]:
    """{fold: the task as fitted on the clips outside it}."""
    task, of_fold = card.get_task(), {}
    for fold in assignment.folds:
        rows = [item.row for item in assignment.outside(fold)]
        of_fold[fold] = task.with_state(task.fit_state(rows, card.labels))
    return of_fold


def held_out_rows(
    tasks: Mapping[str, Task],
    labels: tuple[str, ...],
    assignment: FoldAssignment,
    outputs: FoldOutputs,
) -> list[HeldOutRows]:
    """The out-of-fold rows of each clip, with the task of its fold; tasks: see `fold_tasks`."""
    task = next(iter(tasks.values()))
    sizes = [targets.shape[0] for targets in clip_targets(task, assignment.items, labels)]
    of_clips = np.split(out_of_fold(outputs, assignment, sizes), np.cumsum(sizes)[:-1])
    return [
        HeldOutRows(item.row, of_clip, tasks[assignment.fold_of[item.row.id]])
        for item, of_clip in zip(assignment.items, of_clips, strict=True)
    ]


def postprocessed(
    clips: Sequence[HeldOutRows], assignment: FoldAssignment, labels: Sequence[str]
) -> list[HeldOutRows]:
    """The rows after postprocessing, which is fitted on the held-out rows of the other folds."""
    states = {}
    for fold in assignment.folds:
        others = [clip for clip in clips if assignment.fold_of[clip.row.id] != fold]
        states[fold] = others[0].task.fit_postprocessing(others, labels)
    found = []
    for clip in clips:
        state = clip.task.state | states[assignment.fold_of[clip.row.id]]
        task = clip.task.with_state(state)
        found.append(HeldOutRows(clip.row, task.postprocess(clip.probabilities), task))
    return found
