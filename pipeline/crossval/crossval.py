"""What the folds' own clips decide: after how many epochs a network is best, which of its answers
count, how sure to be of them. For each fold it is decided on the clips of the others.

The baselines on the same folds: what simple methods say of clips of folds they did not see.

crossval: a prepared work folder → predictions of every clip by networks that did not see its
fold, and a model for use; resumes.

Each fold's clips are judged by networks trained on the other folds. After how many epochs, by which
answers and at which temperature is chosen for each fold on the other folds' such predictions, and
for the model on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from torch import Tensor

from data_prep.clip import BoolArray
from data_prep.dataset.splits import SPLITS
from data_prep.settings import SplitSettings
from models.output import ALL_MODALITIES, ClassifierOutput
from pipeline.checkpoints.checkpoint import build_front_end, save_model
from pipeline.checkpoints.model_card import ModelCard, missing_modalities, read_description
from pipeline.config import Config
from pipeline.crossval.fold_assignment import FoldAssignment, assign_folds, assignment_digest
from pipeline.crossval.fold_models import (
    FoldFile,
    FoldModel,
    Trainer,
    candidate_epochs,
    final_models,
    fold_models,
)
from pipeline.crossval.worker_pool import WorkerPool
from pipeline.errors import UserError
from pipeline.evaluation.ablation import row_key
from pipeline.evaluation.evaluated_clips import baseline_front_end, failed_clip, row_outcome
from pipeline.evaluation.evaluation_files import OutOfFold, read_out_of_fold, write_out_of_fold
from pipeline.features.backend import resolve_device
from pipeline.features.samples import Sample
from pipeline.inference.predictor import prediction_row
from pipeline.metrics.baselines import BaselinePrediction
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.predictions import Probabilities
from pipeline.storage.run_record import RunRecord, read_run_record, write_run_record
from pipeline.storage.workspace import PrepRecord, refuse_other_settings
from pipeline.tasks import get_task
from pipeline.tasks.base import Task
from pipeline.training.calibration import Calibration, HeldOutOutputs, ModelOutputs
from pipeline.training.fit import clip_targets
from pipeline.training.train import encoder_to_save, front_end_note, plan_training
from pipeline.training.training_data import (
    PreparedData,
    open_prepared,
    with_used_modalities,
)


@dataclass(frozen=True)
class EpochSelection:
    """How networks are trained, and how their answers become one."""

    epoch: int
    calibration: Calibration


@dataclass(frozen=True)
class FoldOutputs:
    """What networks say of clips that they were not trained on, as their training goes on.

    after: epochs trained → what the networks of each seed say then. learnable bool [N]: whether a
    clip's label was among those its networks were trained on; where it was not, they are the more
    wrong the longer they train, which says nothing about other clips.
    """

    by_epoch: Mapping[int, HeldOutOutputs]
    learnable: Tensor

    def select(self, index: Tensor) -> FoldOutputs:
        """Some of the clips: bool [N]."""
        after = {epoch: answered.select(index) for epoch, answered in self.by_epoch.items()}
        return FoldOutputs(after, self.learnable[index])

    def select_seeds(self, chosen: Sequence[int]) -> FoldOutputs:
        """Some of the seeds."""
        after = {
            epoch: HeldOutOutputs([answered.outputs[seed] for seed in chosen], answered.targets)
            for epoch, answered in self.by_epoch.items()
        }
        return FoldOutputs(after, self.learnable)

    @property
    def modalities(self) -> list[str]:
        """Those of which a clip can be shown one alone; none where there is but one."""
        return [name for name in self._first.outputs[0] if name != ALL_MODALITIES]

    def with_modality(self, modality: str) -> tuple[FoldOutputs, BoolArray]:
        """(what is said of the same clips when they are shown with one modality alone, bool [N]:
        which of them have both)."""
        after = {
            epoch: HeldOutOutputs(
                [{**one, ALL_MODALITIES: one[modality]} for one in answered.outputs],
                answered.targets,
            )
            for epoch, answered in self.by_epoch.items()
        }
        there = np.logical_and.reduce(
            [p.numpy() for p in self._first.all_modalities[0].present.values()]
        )
        return FoldOutputs(after, self.learnable), there

    @property
    def _first(self) -> HeldOutOutputs:
        return next(iter(self.by_epoch.values()))

    def select_epoch(self) -> EpochSelection:
        """The epoch, and its answers and temperature, under which the labels are most likely."""
        some = self.learnable if bool(self.learnable.any()) else torch.ones_like(self.learnable)
        after = {epoch: answered.select(some) for epoch, answered in self.by_epoch.items()}
        choices = [
            EpochSelection(epoch, answered.calibrate()) for epoch, answered in sorted(after.items())
        ]
        return min(choices, key=lambda choice: after[choice.epoch].loss(choice.calibration))

    def probabilities(self, choice: EpochSelection) -> Probabilities:
        """float64 [N, K], by a choice that other clips gave."""
        chances = self.by_epoch[choice.epoch].probabilities(choice.calibration)
        return np.asarray(chances.numpy(), dtype=np.float64)


def fold_outputs(
    division: FoldAssignment,
    trained: Mapping[FoldModel, Mapping[int, FoldFile]],
    targets: Sequence[Tensor],
) -> FoldOutputs:
    """All clips, each as the models predict it that were trained without its fold.

    targets: int64 [N] of each clip of the division, one for each row of its logits.
    """
    seeds = sorted({model.seed for model in trained})
    epochs = sorted(next(iter(trained.values())))
    of_clip = {item.row.id: own for item, own in zip(division.items, targets, strict=True)}
    learned = {
        fold: torch.cat([of_clip[item.row.id] for item in division.outside(fold)])
        for fold in division.folds
    }
    learnable = torch.cat([
        torch.isin(of_clip[item.row.id], learned[division.fold_of[item.row.id]])
        for item in division.items
    ])  # fmt: skip
    by_epoch = {
        epoch: HeldOutOutputs(
            [_joined(division, trained, of_clip, seed, epoch) for seed in seeds],
            torch.cat(list(targets)),
        )
        for epoch in epochs
    }
    return FoldOutputs(by_epoch, learnable)


def out_of_fold(
    outputs: FoldOutputs, division: FoldAssignment, n_rows: Sequence[int] | None = None
) -> Probabilities:
    """float64 [N, K]: each fold's clips as the other folds' clips would have it.

    n_rows: rows of logits of each clip; None: one each.
    """
    fold_of = np.array([division.fold_of[item.row.id] for item in division.items])
    fold_of = fold_of if n_rows is None else fold_of.repeat(n_rows)
    some = next(iter(outputs.by_epoch.values())).all_modalities[0].fused
    probabilities = np.zeros(tuple(some.shape))
    for fold in division.folds:
        inside = torch.from_numpy(fold_of == fold)
        choice = outputs.select(~inside).select_epoch()
        probabilities[fold_of == fold] = outputs.select(inside).probabilities(choice)
    return probabilities


def _joined(
    division: FoldAssignment,
    trained: Mapping[FoldModel, Mapping[int, FoldFile]],
    targets: Mapping[str, Tensor],
    seed: int,
    epoch: int,
) -> ModelOutputs:
    """The outputs of one seed's models after an epoch, in the order of the division's clips."""
    folds = [after[epoch] for model, after in trained.items() if model.seed == seed]
    rows: dict[str, Tensor] = {}
    n_rows = 0
    for key in (key for fold in folds for key in fold.ids):
        rows[key] = torch.arange(n_rows, n_rows + targets[key].shape[0])
        n_rows += targets[key].shape[0]
    index = torch.cat([rows[item.row.id] for item in division.items])
    return {
        subset: ClassifierOutput.concat([fold.outputs[subset] for fold in folds]).select(index)
        for subset in folds[0].outputs
    }


def fold_baselines(
    data: PreparedData, card: ModelCard, division: FoldAssignment, progress: ProgressReporter
) -> dict[str, BaselinePrediction]:
    """{baseline: its labels for all clips of the division, in their order}.

    The strength of regularisation is chosen inside the folds that are fitted on.
    """
    samples, task = _plain(data, card, division), get_task(card.task)
    answers: dict[str, dict[str, str]] = {}
    folds = division.folds
    progress.start("fitting the baselines of folds", len(folds))
    for fold in folds:
        known, test = division.outside(fold), division.inside(fold)
        found = task.fit_baselines(
            [item.row for item in known],
            [samples[item.row.id] for item in known],
            [samples[item.row.id] for item in test],
        )
        for name, answer in found.items():
            of_clip = zip(test, answer.predicted, strict=True)
            answers.setdefault(name, {}).update({item.row.id: label for item, label in of_clip})
        progress.advance()
    progress.finish()
    return {
        name: BaselinePrediction([labels[item.row.id] for item in division.items])
        for name, labels in answers.items()
        if len(labels) == len(division.items)
    }


def _plain(data: PreparedData, card: ModelCard, division: FoldAssignment) -> dict[str, Sample]:
    """{clip id: what a baseline is given of it}: no more than the model is."""
    items = division.items
    if card.model.audio_front_end == "waveform":
        items = data.samples(SPLITS, baseline_front_end(card, data))
    return {
        item.row.id: item.sample.with_modalities(card.uses_video, card.uses_audio) for item in items
    }


_FOLDER = "crossval"
_VERSION = 2


def crossval(work: Path, run: Path, config: Config, progress: ProgressReporter) -> OutOfFold:
    """Cross-validate a prepared work folder into `run`. Raises UserError and DataSetError."""
    data = open_prepared(work)
    refuse_other_settings(data.record, config, work)
    _refuse_unfit(config)
    task = get_task(config.task)
    task.check_rows(data.rows, config.limits.max_labels, None)
    rows = [row for row in data.rows if row.trainable]
    fold_of = assign_folds(rows, config.crossval.folds, config.split.seed)
    data = data.whole
    record, card = plan_training(data, config)
    asked = config.crossval.model_dump(exclude={"workers"}) | {
        "division": assignment_digest(fold_of),
        "mirrored": data.record.mirrored,
        "device": resolve_device(config.device),
    }
    record = record.model_copy(update={"crossval": asked})
    with exclusive_lock(run / LOCK_NAME, run):
        before = read_run_record(run)
        if before is not None:
            before.refuse_other(record, run)
            done = read_out_of_fold(run, task, card.labels) if before.finished is not None else None
            if done is not None:
                return done
        write_run_record(run, record)
        front_end = build_front_end(card)
        judged = with_used_modalities(card, data.samples(["train"], front_end))
        folds_of = {item.row.id: fold_of[item.row.id] for item in judged}
        division = FoldAssignment(judged, folds_of, _gap_s(data.record))
        _refuse_too_few(card, division)
        trainer = Trainer(card, front_end, division, config)
        card, kept = _train(run, data, trainer, progress)
        return _finish(run, record, card, kept)


def _gap_s(record: PrepRecord) -> float:
    """How near to a judged part nothing is trained on: where blocks of time were asked for."""
    if record.asked.get("split.by") != "time":
        return 0.0
    return float(record.asked.get("split.gap_s", SplitSettings().gap_s))


def _train(
    run: Path, data: PreparedData, trainer: Trainer, progress: ProgressReporter
) -> tuple[ModelCard, OutOfFold]:
    """Train all networks and save the model → its card, and what the folds' networks say."""
    card, division, config = trainer.card, trainer.division, trainer.config
    networks = fold_models(run / _FOLDER, division.folds, config.crossval.seeds)
    progress.note(
        f"{len(division.items)} clips in {len(division.folds)} folds, {len(networks)} networks to "
        f"train: {len(card.labels)} labels, {card.model.modalities}"
    )
    if note := front_end_note(config, card):
        progress.note(note)
    if config.train.patience != "auto":
        progress.note("train.patience is not used here: the folds choose the epoch for each other")
    epochs = candidate_epochs(config.train.max_epochs)
    with closing(WorkerPool(trainer, run / _FOLDER, progress)) as pool:
        title = "training networks of folds"
        trained = trainer.train(networks, epochs, title, progress, pool.train)
        course = fold_outputs(
            division, trained, clip_targets(get_task(card.task), division.items, card.labels)
        )
        choice = course.select_epoch()
        if config.crossval.final == "all":
            progress.note(f"on the folds' clips the networks are best after {choice.epoch} epochs")
            networks = final_models(run / _FOLDER, config.crossval.seeds)
            title = "training networks on all clips"
            trained = trainer.train(networks, [choice.epoch], title, progress, pool.train)
    members = trainer.members(
        [after[choice.epoch] for after in trained.values()], choice.calibration.fusion_weights
    )
    card = card.model_copy(update={"temperatures": choice.calibration.temperatures})
    save_model(run, card, members, encoder_to_save(card, None))
    baselines = fold_baselines(data, card, division, progress)
    kept = _summarise(data, card, division, course, choice, baselines)
    kept.summary.update(final=config.crossval.final, networks=len(members))
    return card, kept


def _refuse_unfit(config: Config) -> None:
    if config.model.trainable_blocks:
        raise UserError(
            "crossval trains many networks behind one frozen frame encoder; "
            f"model.trainable_blocks={config.model.trainable_blocks} is for `framewave train`"
        )


def _refuse_too_few(card: ModelCard, division: FoldAssignment) -> None:
    """Folds were made of all clips; some may have nothing that this model sees or hears."""
    labels = get_task(card.task).labels([item.row for item in division.items])
    if len(division.folds) < 2 or len(labels) < 2:
        raise UserError(
            f"only {len(division.items)} clips have {card.model.modalities}, of {len(labels)} "
            f"labels in {len(division.folds)} folds; two of each are needed at least"
        )


def _summarise(
    data: PreparedData,
    card: ModelCard,
    division: FoldAssignment,
    course: FoldOutputs,
    choice: EpochSelection,
    baselines: Mapping[str, BaselinePrediction],
) -> OutOfFold:
    """Every clip's prediction, and the summary of all; `choice` is the model's."""
    task = get_task(card.task)
    sizes = [own.shape[0] for own in clip_targets(task, division.items, card.labels)]
    chances = out_of_fold(course, division, sizes)
    of_clip = _by_clip(chances, sizes, task)
    answered = course.by_epoch[choice.epoch]
    targets, n_seeds = answered.targets.numpy(), len(answered.outputs)
    each = [out_of_fold(course.select_seeds([seed]), division, sizes) for seed in range(n_seeds)]
    accuracies = [float((one.argmax(axis=1) == targets).mean()) for one in each]
    summary = {
        "version": _VERSION,
        "folds": division.folds,
        "seeds": n_seeds,
        "accuracy_per_seed": accuracies,
        "accuracy_mean": mean(accuracies),
        "accuracy_deviation": stdev(accuracies) if n_seeds > 1 else None,
        "epochs": choice.epoch,
        "temperatures": choice.calibration.temperatures,
        "answer_weights": choice.calibration.fusion_weights,
        "shown_alone": _unimodal_predictions(course, division, card, sizes),
        "baselines": task.baseline_scores(
            baselines, [item.row for item in division.items], of_clip, card.labels
        ),
    }
    return OutOfFold(_clips(data, card, division, of_clip), summary)


def _by_clip(chances: Probabilities, n_rows: Sequence[int], task: Task) -> list[Probabilities]:
    """Rows [N, K] of all clips → those of each clip, as a prediction has them."""
    each = np.split(chances, np.cumsum(n_rows)[:-1])
    return [rows[0] for rows in each] if task.per_clip else each


def _unimodal_predictions(
    course: FoldOutputs, division: FoldAssignment, card: ModelCard, n_rows: Sequence[int]
) -> dict[str, dict[str, str]]:
    """modality → {clip: the decision when it is shown with that alone}, of clips with both."""
    found: dict[str, dict[str, str]] = {}
    task = get_task(card.task)
    for modality in sorted(course.modalities):
        shown, present = course.with_modality(modality)
        of_clip = _by_clip(out_of_fold(shown, division, n_rows), n_rows, task)
        has_both = [bool(rows.all()) for rows in np.split(present, np.cumsum(n_rows)[:-1])]
        found[modality] = {
            row_key(item.row): task.decision(probabilities, card.labels)
            for item, probabilities, both in zip(division.items, of_clip, has_both, strict=True)
            if both
        }
    return found


def _finish(run: Path, record: RunRecord, card: ModelCard, kept: OutOfFold) -> OutOfFold:
    """Write what was found; the record's last word is that the crossval has ended."""
    write_out_of_fold(run, kept, get_task(card.task), card.labels, read_description(run).digest)
    finished = {
        "networks": float(kept.summary["networks"]),
        "epochs": float(kept.summary["epochs"]),
        "accuracy_of_one_seed": float(kept.summary["accuracy_mean"]),
    }
    write_run_record(run, record.model_copy(update={"finished": finished}))
    return kept


def _clips(
    data: PreparedData, card: ModelCard, division: FoldAssignment, chances: Sequence[Probabilities]
) -> list[EvaluatedClip]:
    """One for every labelled file, those that could not be used with their reason."""
    row_of_id = {item.row.id: k for k, item in enumerate(division.items)}
    clips = []
    for row in data.rows:
        if row.id in row_of_id and row.trainable:
            prediction = prediction_row(row.path, row_outcome(row), "", chances[row_of_id[row.id]])
            fold = division.fold_of[row.id]
            clips.append(EvaluatedClip(replace(row, fold=fold, split=""), prediction, None))
        elif row.trainable:
            nothing = missing_modalities(card, False, False)
            prediction = prediction_row(row.path, row_outcome(row), nothing, None)
            clips.append(EvaluatedClip(replace(row, split=""), prediction, None))
        elif row.label and not row.status.usable:
            clips.append(failed_clip(row))
    return clips
