"""crossval: a prepared work folder → out-of-fold predictions of all clips, and a final model.

Each fold's clips are predicted by networks trained on the other folds. The number of epochs, the
fusion weights and the temperatures are chosen for each fold on the out-of-fold predictions of the
other folds, and for the final model on all of them. Baselines use the same folds. Resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from data_prep.dataset.splits import SPLITS
from data_prep.segments import UNKNOWN
from data_prep.settings import SplitSettings
from pipeline.checkpoints.checkpoint import build_front_end, save_model
from pipeline.checkpoints.model_card import ModelCard, missing_modalities, read_description
from pipeline.config import Config
from pipeline.crossval.fold_assignment import FoldAssignment, assign_folds, assignment_digest
from pipeline.crossval.fold_models import (
    Trainer,
    candidate_epochs,
    final_models,
    fold_models,
)
from pipeline.crossval.fold_outputs import (
    EpochSelection,
    FoldOutputs,
    fold_outputs,
    fold_tasks,
    held_out_rows,
    postprocessed,
)
from pipeline.crossval.worker_pool import WorkerPool
from pipeline.errors import UserError
from pipeline.evaluation.ablation import row_key
from pipeline.evaluation.evaluated_clips import baseline_front_end, failed_clip, row_outcome
from pipeline.evaluation.evaluation_files import OutOfFold, read_out_of_fold, write_out_of_fold
from pipeline.features.backend import resolve_device
from pipeline.features.samples import LabelledSample, Sample
from pipeline.inference.predictor import ClipRows, prediction_row
from pipeline.metrics.baselines import BaselinePrediction
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.predictions import Classes, Probabilities
from pipeline.storage.run_record import RunRecord, read_run_record, write_run_record
from pipeline.storage.workspace import PrepRecord, refuse_other_settings
from pipeline.tasks import get_task
from pipeline.tasks.base import HeldOutRows, Task
from pipeline.text_format import counted
from pipeline.training.fit import clip_targets
from pipeline.training.train import encoder_to_save, front_end_note, plan_training
from pipeline.training.training_data import (
    PreparedData,
    open_prepared,
    with_trained_task,
    with_used_modalities,
)


def fold_baselines(
    data: PreparedData, card: ModelCard, assignment: FoldAssignment, progress: ProgressReporter
) -> dict[str, BaselinePrediction]:
    """{baseline: its out-of-fold labels of all clips, in their order}."""
    samples, task = _baseline_samples(data, card, assignment), card.get_task()
    predictions: dict[str, dict[str, str]] = {}
    folds = assignment.folds
    progress.start("fitting the baselines of folds", len(folds))
    for fold in folds:
        train, test = assignment.outside(fold), assignment.inside(fold)
        of_fold = task.fit_baselines(
            *([LabelledSample(item.row, samples[item.row.id]) for item in items]
              for items in (train, test)),
        )  # fmt: skip
        for name, baseline in of_fold.items():
            of_clip = zip(test, baseline.predicted, strict=True)
            predictions.setdefault(name, {}).update({item.row.id: label for item, label in of_clip})
        progress.advance()
    progress.finish()
    return {
        name: BaselinePrediction([labels[item.row.id] for item in assignment.items])
        for name, labels in predictions.items()
        # a baseline may be missing in a fold, if no clip to fit on has its modality
        if len(labels) == len(assignment.items)
    }


def _baseline_samples(
    data: PreparedData, card: ModelCard, assignment: FoldAssignment
) -> dict[str, Sample]:
    """{clip id: sample with the modalities that the model uses}, for the baselines."""
    items = assignment.items
    # the mean of a waveform over time carries no information
    if card.model.audio_front_end == "waveform":
        items = data.samples(SPLITS, baseline_front_end(card, data))
    return {
        item.row.id: item.sample.with_modalities(card.uses_video, card.uses_audio) for item in items
    }


_FOLDER = "crossval"
_VERSION = 2  # of crossval.json


def crossval(work: Path, run: Path, config: Config, progress: ProgressReporter) -> OutOfFold:
    """Cross-validate a prepared work folder into `run`. Raises UserError and DataSetError."""
    data = open_prepared(work)
    refuse_other_settings(data.record, config, work)
    config = with_trained_task(config, data.record, work)
    _refuse_tuned_encoder(config)
    task = get_task(config.task)
    if task.decodes:
        raise UserError(
            f"crossval does not support task={task.name}: networks write a list label by label "
            "together, which the stored outputs of folds do not allow; use framewave train and eval"
        )
    task.check_rows(data.rows, config.limits.max_labels, None)
    rows = [row for row in data.rows if row.trainable]
    fold_of = assign_folds(rows, config.crossval.folds, config.split.seed, task.row_labels)
    data = data.whole  # splits play no part
    record, card = plan_training(data, config)
    # a resumed run must match these; workers do not change the result
    settings = config.crossval.model_dump(exclude={"workers"}) | {
        "division": assignment_digest(fold_of),
        "mirrored": data.record.mirrored,
        "device": resolve_device(config.device),
    }
    record = record.model_copy(update={"crossval": settings})
    with exclusive_lock(run / LOCK_NAME, run):
        before = read_run_record(run)
        if before is not None:
            before.refuse_other(record, run)
            done = read_out_of_fold(run, task, card.labels) if before.finished is not None else None
            if done is not None:
                return done
        write_run_record(run, record)
        front_end = build_front_end(card)
        items = with_used_modalities(card, data.samples(["train"], front_end))
        folds_of = {item.row.id: fold_of[item.row.id] for item in items}
        assignment = FoldAssignment(items, folds_of, _gap_s(data.record))
        _refuse_too_few(card, assignment)
        trainer = Trainer(card, front_end, assignment, config)
        card, kept = _train(run, data, trainer, progress)
        return _finish(run, record, card, kept)


def _gap_s(record: PrepRecord) -> float:
    """Seconds around held-out clips that are not trained on, if clips are split by time."""
    if record.asked.get("split.by") != "time":
        return 0.0
    return float(record.asked.get("split.gap_s", SplitSettings().gap_s))


def _train(
    run: Path, data: PreparedData, trainer: Trainer, progress: ProgressReporter
) -> tuple[ModelCard, OutOfFold]:
    """Train all networks and save the final model → its card, and the out-of-fold predictions."""
    card, assignment, config = trainer.card, trainer.assignment, trainer.config
    networks = fold_models(run / _FOLDER, assignment.folds, config.crossval.seeds)
    progress.note(
        f"{len(networks)} networks to train on {len(assignment.items)} clips of "
        f"{len(card.labels)} labels in {len(assignment.folds)} folds ({_modalities(card)})"
    )
    if note := front_end_note(config, card):
        progress.note(note)
    if config.train.patience != "auto":  # set by the user
        progress.note("train.patience is not used here: the folds choose the epoch for each other")
    epochs = candidate_epochs(config.train.max_epochs)
    # one pool for folds and final models: starting workers takes seconds
    with closing(WorkerPool(trainer, run / _FOLDER, progress)) as pool:
        title = "training networks of folds"
        trained = trainer.train(networks, epochs, title, progress, pool.train)
        outputs = fold_outputs(
            assignment, trained, clip_targets(card.get_task(), assignment.items, card.labels)
        )
        choice = outputs.select_epoch()
        if config.crossval.final == "all":
            progress.note(
                f"{counted(choice.epoch, 'epoch has', 'epochs have')} the best out-of-fold score"
            )
            networks = final_models(run / _FOLDER, config.crossval.seeds)
            title = "training networks on all clips"
            trained = trainer.train(networks, [choice.epoch], title, progress, pool.train)
    # final=ensemble: the members are the folds' networks themselves
    members = trainer.members(
        [after[choice.epoch] for after in trained.values()], choice.calibration.fusion_weights
    )
    tasks = fold_tasks(card, assignment)
    held_out = held_out_rows(tasks, card.labels, assignment, outputs)
    state = card.task_state | card.get_task().fit_postprocessing(held_out, card.labels)
    temperatures = choice.calibration.temperatures
    card = card.model_copy(update={"temperatures": temperatures, "task_state": state})
    save_model(run, card, members, encoder_to_save(card, None))
    baselines = fold_baselines(data, card, assignment, progress)
    kept = _summarise(data, card, assignment, outputs, choice, baselines, held_out, tasks)
    kept.summary.update(final=config.crossval.final, networks=len(members))
    return card, kept


def _refuse_tuned_encoder(config: Config) -> None:
    if config.model.trainable_blocks:
        raise UserError(
            "crossval trains many networks behind one frozen frame encoder; "
            f"model.trainable_blocks={config.model.trainable_blocks} is for `framewave train`"
        )


def _refuse_too_few(card: ModelCard, assignment: FoldAssignment) -> None:
    """Raise UserError if too few clips, labels or folds have a modality of the model."""
    labels = card.get_task().labels([item.row for item in assignment.items])
    # folds were assigned before clips without the model's modalities were left out
    if len(assignment.folds) < 2 or len(labels) < 2:
        raise UserError(
            f"only {counted(len(assignment.items), 'clip')} of {counted(len(labels), 'label')} in "
            f"{counted(len(assignment.folds), 'fold')} can be used "
            f"({_modalities(card)}); at least two of each are needed"
        )


def _modalities(card: ModelCard) -> str:
    both = card.model.modalities == "both"
    return "picture and sound" if both else f"{card.model.modalities} only"


def _summarise(
    data: PreparedData,
    card: ModelCard,
    assignment: FoldAssignment,
    outputs: FoldOutputs,
    choice: EpochSelection,
    baselines: Mapping[str, BaselinePrediction],
    held_out: Sequence[HeldOutRows],
    tasks: Mapping[str, Task],
) -> OutOfFold:
    """Out-of-fold predictions of all clips, and the summary; choice: that of the final model.

    held_out: `held_out_rows` of all seeds together; tasks: of the folds.
    """
    task = card.get_task()
    clips = postprocessed(held_out, assignment, card.labels)
    selected = outputs.by_epoch[choice.epoch]
    targets, n_seeds = selected.targets.numpy(), len(selected.outputs)
    known = targets != UNKNOWN
    # accuracies of single seeds show how much of a difference is chance
    accuracies = []
    for seed in range(n_seeds):
        of_seed = held_out_rows(tasks, card.labels, assignment, outputs.select_seeds([seed]))
        one = [clip.probabilities for clip in postprocessed(of_seed, assignment, card.labels)]
        accuracies.append(float((np.concatenate(one).argmax(axis=1) == targets)[known].mean()))
    rows = [item.row for item in assignment.items]
    of_clip = [c.probabilities[0] if task.per_clip else c.probabilities for c in clips]
    classes = [clip.task.decode(p) for clip, p in zip(clips, of_clip, strict=True)]
    decisions = [task.decision(p, card.labels, k) for p, k in zip(of_clip, classes, strict=True)]
    summary = {
        "version": _VERSION,
        "folds": assignment.folds,
        "seeds": n_seeds,
        "accuracy_per_seed": accuracies,
        "accuracy_mean": mean(accuracies),
        "accuracy_deviation": stdev(accuracies) if n_seeds > 1 else None,
        "epochs": choice.epoch,
        "temperatures": choice.calibration.temperatures,
        "answer_weights": choice.calibration.fusion_weights,
        "shown_alone": _unimodal_predictions(outputs, assignment, card.labels, tasks),
        "baselines": task.baseline_scores(baselines, rows, decisions, card.labels),
    }
    return OutOfFold(_clips(data, card, assignment, of_clip, classes), summary)


def _unimodal_predictions(
    outputs: FoldOutputs,
    assignment: FoldAssignment,
    labels: tuple[str, ...],
    tasks: Mapping[str, Task],
) -> dict[str, dict[str, str]]:
    """modality → {clip key: decision from that modality alone}, for clips with both."""
    found: dict[str, dict[str, str]] = {}
    for modality in sorted(outputs.modalities):
        masked, present = outputs.with_modality(modality)
        clips = held_out_rows(tasks, labels, assignment, masked)
        sizes = [clip.probabilities.shape[0] for clip in clips]
        has_both = [bool(rows.all()) for rows in np.split(present, np.cumsum(sizes)[:-1])]
        found[modality] = {
            row_key(clip.row): clip.task.decision(
                clip.probabilities[0] if clip.task.per_clip else clip.probabilities, labels
            )
            for clip, both in zip(postprocessed(clips, assignment, labels), has_both, strict=True)
            if both
        }
    return found


def _finish(run: Path, record: RunRecord, card: ModelCard, kept: OutOfFold) -> OutOfFold:
    """Write the out-of-fold predictions, then mark the run as finished."""
    write_out_of_fold(run, kept, card.get_task(), card.labels, read_description(run).digest)
    finished = {
        "networks": float(kept.summary["networks"]),
        "epochs": float(kept.summary["epochs"]),
        "accuracy_of_one_seed": float(kept.summary["accuracy_mean"]),
    }
    # last: a run without `finished` is resumed
    write_run_record(run, record.model_copy(update={"finished": finished}))
    return kept


def _clips(
    data: PreparedData,
    card: ModelCard,
    assignment: FoldAssignment,
    probabilities: Sequence[Probabilities],
    classes: Sequence[Classes | None],
) -> list[EvaluatedClip]:
    """One for every labelled file, including those that could not be used, with the reason."""
    row_of_id = {item.row.id: k for k, item in enumerate(assignment.items)}
    clips = []
    for row in data.rows:
        if row.id in row_of_id and row.trainable:
            number = row_of_id[row.id]
            rows = ClipRows(probabilities[number], classes[number])
            prediction = prediction_row(row.path, row_outcome(row), "", rows)
            fold = assignment.fold_of[row.id]
            clips.append(EvaluatedClip(replace(row, fold=fold, split=""), prediction, None))
        elif row.trainable:
            # trainable, but without a modality that the model uses
            nothing = missing_modalities(card, False, False)
            prediction = prediction_row(row.path, row_outcome(row), nothing, None)
            clips.append(EvaluatedClip(replace(row, split=""), prediction, None))
        elif row.label and not row.status.usable:
            clips.append(failed_clip(row))
    return clips
