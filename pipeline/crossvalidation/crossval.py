"""crossval: a prepared work folder → predictions of every clip by networks that did not see its
fold, and a model for use; resumes.

Each fold's clips are judged by networks trained on the other folds. After how many epochs, by which
answers and at which temperature is chosen for each fold on the other folds' such predictions, and
for the model on all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from data_prep.dataset.splits import check_labels
from data_prep.settings import SplitSettings
from pipeline.checkpoints.card import ModelCard, nothing_to_judge, read_description
from pipeline.checkpoints.checkpoint import build_front_end, save_model
from pipeline.classifying.predictor import row_of
from pipeline.config import Config
from pipeline.crossvalidation.choosing import Choice, Course, course_of, out_of_fold
from pipeline.crossvalidation.division import Division
from pipeline.crossvalidation.fold_baselines import fold_baselines
from pipeline.crossvalidation.folds import assign_folds, digest_of
from pipeline.crossvalidation.networks import (
    Trainer,
    final_networks,
    fold_networks,
    watched_epochs,
)
from pipeline.crossvalidation.worker_pool import WorkerPool
from pipeline.encoding.backend import resolve_device
from pipeline.errors import UserError
from pipeline.evaluating.ablation import row_key
from pipeline.evaluating.baselines import BaselineAnswer
from pipeline.evaluating.clips import EvaluatedClip, failed_clip, outcome_of
from pipeline.evaluating.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from pipeline.evaluating.scoring import baseline_scores
from pipeline.records.locks import LOCK_NAME, only_one
from pipeline.records.predictions import Probabilities
from pipeline.records.run_record import RunRecord, read_run_record, write_run_record
from pipeline.records.workspace import PrepRecord, refuse_other_settings
from pipeline.reporting import Reporter
from pipeline.training.fit import targets_of
from pipeline.training.train import encoder_to_save, front_end_note, plan
from pipeline.training.training_data import PreparedData, judgeable, open_prepared

_FOLDER = "crossval"
_VERSION = 2


def crossval(work: Path, run: Path, config: Config, report: Reporter) -> OutOfFold:
    """Cross-validate a prepared work folder into `run`. Raises UserError and DataSetError."""
    data = open_prepared(work)
    refuse_other_settings(data.record, config, work)
    _refuse_unfit(config)
    check_labels(data.rows, config.limits.max_labels)
    rows = [row for row in data.rows if row.trainable]
    fold_of = assign_folds(rows, config.crossval.folds, config.split.seed)
    data = data.whole
    record, card = plan(data, config)
    asked = config.crossval.model_dump(exclude={"workers"}) | {
        "division": digest_of(fold_of),
        "mirrored": data.record.mirrored,
        "device": resolve_device(config.device),
    }
    record = record.model_copy(update={"crossval": asked})
    with only_one(run / LOCK_NAME, run):
        before = read_run_record(run)
        if before is not None:
            before.refuse_other(record, run)
            done = read_out_of_fold(run, card.labels) if before.finished is not None else None
            if done is not None:
                return done
        write_run_record(run, record)
        front_end = build_front_end(card)
        judged = judgeable(card, data.samples(["train"], front_end))
        folds_of = {item.row.id: fold_of[item.row.id] for item in judged}
        division = Division(judged, folds_of, _gap_s(data.record))
        _refuse_too_few(card, division)
        trainer = Trainer(card, front_end, division, config)
        card, kept = _train(run, data, trainer, report)
        return _finish(run, record, card, kept)


def _gap_s(record: PrepRecord) -> float:
    """How near to a judged part nothing is trained on: where blocks of time were asked for."""
    if record.asked.get("split.by") != "time":
        return 0.0
    return float(record.asked.get("split.gap_s", SplitSettings().gap_s))


def _train(
    run: Path, data: PreparedData, trainer: Trainer, report: Reporter
) -> tuple[ModelCard, OutOfFold]:
    """Train all networks and save the model → its card, and what the folds' networks say."""
    card, division, config = trainer.card, trainer.division, trainer.config
    networks = fold_networks(run / _FOLDER, division.folds, config.crossval.seeds)
    report.note(
        f"{len(division.items)} clips in {len(division.folds)} folds, {len(networks)} networks to "
        f"train: {len(card.labels)} labels, {card.model.modalities}"
    )
    if note := front_end_note(config, card):
        report.note(note)
    if config.train.patience != "auto":
        report.note("train.patience is not used here: the folds choose the epoch for each other")
    epochs = watched_epochs(config.train.max_epochs)
    with closing(WorkerPool(trainer, run / _FOLDER, report)) as pool:
        title = "training networks of folds"
        trained = trainer.train(networks, epochs, title, report, pool.train)
        course = course_of(division, trained, targets_of(division.items, card.labels))
        choice = course.choice()
        if config.crossval.final == "all":
            report.note(f"on the folds' clips the networks are best after {choice.epoch} epochs")
            networks = final_networks(run / _FOLDER, config.crossval.seeds)
            title = "training networks on all clips"
            trained = trainer.train(networks, [choice.epoch], title, report, pool.train)
    members = trainer.members(
        [after[choice.epoch] for after in trained.values()], choice.judgement.weights
    )
    card = card.model_copy(update={"temperatures": choice.judgement.temperatures})
    save_model(run, card, members, encoder_to_save(card, None))
    baselines = fold_baselines(data, card, division, report)
    kept = _judged(data, card, division, course, choice, baselines)
    kept.summary.update(final=config.crossval.final, networks=len(members))
    return card, kept


def _refuse_unfit(config: Config) -> None:
    if config.model.trainable_blocks:
        raise UserError(
            "crossval trains many networks behind one frozen frame encoder; "
            f"model.trainable_blocks={config.model.trainable_blocks} is for `framewave train`"
        )


def _refuse_too_few(card: ModelCard, division: Division) -> None:
    """Folds were made of all clips; some may have nothing that this model sees or hears."""
    labels = {item.row.label for item in division.items}
    if len(division.folds) < 2 or len(labels) < 2:
        raise UserError(
            f"only {len(division.items)} clips have {card.model.modalities}, of {len(labels)} "
            f"labels in {len(division.folds)} folds; two of each are needed at least"
        )


def _judged(
    data: PreparedData,
    card: ModelCard,
    division: Division,
    course: Course,
    choice: Choice,
    baselines: Mapping[str, BaselineAnswer],
) -> OutOfFold:
    """Every clip's prediction, and the summary of all; `choice` is the model's."""
    chances = out_of_fold(course, division)
    answered = course.after[choice.epoch]
    targets, n_seeds = answered.targets.numpy(), len(answered.said)
    each = [out_of_fold(course.seeds([seed]), division) for seed in range(n_seeds)]
    accuracies = [float((one.argmax(axis=1) == targets).mean()) for one in each]
    summary = {
        "version": _VERSION,
        "folds": division.folds,
        "seeds": n_seeds,
        "accuracy_per_seed": accuracies,
        "accuracy_mean": mean(accuracies),
        "accuracy_deviation": stdev(accuracies) if n_seeds > 1 else None,
        "epochs": choice.epoch,
        "temperatures": choice.judgement.temperatures,
        "answer_weights": choice.judgement.weights,
        "shown_alone": _shown_alone(course, division, card),
        "baselines": baseline_scores(
            baselines,
            [item.row.label for item in division.items],
            [card.labels[int(k)] for k in chances.argmax(axis=1)],
            [item.row.group for item in division.items],
            card.labels,
        ),
    }
    return OutOfFold(_clips(data, card, division, chances), summary)


def _shown_alone(course: Course, division: Division, card: ModelCard) -> dict[str, dict[str, str]]:
    """modality → {clip: the label named when it is shown with that alone}, of clips with both."""
    found: dict[str, dict[str, str]] = {}
    for modality in sorted(course.modalities):
        shown, there = course.shown(modality)
        said = out_of_fold(shown, division).argmax(axis=1)
        found[modality] = {
            row_key(item.row): card.labels[int(k)]
            for item, k, has in zip(division.items, said, there, strict=True)
            if has
        }
    return found


def _finish(run: Path, record: RunRecord, card: ModelCard, kept: OutOfFold) -> OutOfFold:
    """Write what was found; the record's last word is that the crossval has ended."""
    write_out_of_fold(run, kept, card.labels, read_description(run).digest)
    finished = {
        "networks": float(kept.summary["networks"]),
        "epochs": float(kept.summary["epochs"]),
        "accuracy_of_one_seed": float(kept.summary["accuracy_mean"]),
    }
    write_run_record(run, record.model_copy(update={"finished": finished}))
    return kept


def _clips(
    data: PreparedData, card: ModelCard, division: Division, chances: Probabilities
) -> list[EvaluatedClip]:
    """One for every labelled file, those that could not be used with their reason."""
    row_of_id = {item.row.id: k for k, item in enumerate(division.items)}
    clips = []
    for row in data.rows:
        if row.id in row_of_id and row.trainable:
            prediction = row_of(row.path, outcome_of(row), "", chances[row_of_id[row.id]])
            fold = division.fold_of[row.id]
            clips.append(EvaluatedClip(replace(row, fold=fold, split=""), prediction, None))
        elif row.trainable:
            nothing = nothing_to_judge(card, False, False)
            prediction = row_of(row.path, outcome_of(row), nothing, None)
            clips.append(EvaluatedClip(replace(row, split=""), prediction, None))
        elif row.label and not row.status.usable:
            clips.append(failed_clip(row))
    return clips
