"""train: a prepared work folder → a run folder with a trained model; resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data_prep.segments import UNKNOWN
from models.backbones.frame_encoder import FrameEncoder
from models.settings import ModelSettings
from pipeline.checkpoints.checkpoint import build_classifier, build_front_end, save_model
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import DEFAULT_PATIENCE, Config
from pipeline.errors import UserError
from pipeline.features.encoder_weights import load_frame_encoder, weights_digest
from pipeline.features.samples import LabelledSample
from pipeline.prep.prep_plan import with_stored_windows
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.run_record import RunRecord, environment, read_run_record, write_run_record
from pipeline.storage.workspace import refuse_other_settings
from pipeline.tasks import get_task
from pipeline.tasks.base import HeldOutRows, Task
from pipeline.text_format import counted
from pipeline.training.calibration import HeldOutOutputs
from pipeline.training.epoch_selection import n_independent
from pipeline.training.fit import Fitted, clip_targets, fit
from pipeline.training.training_data import (
    PreparedData,
    open_prepared,
    resolve_modalities,
    with_trained_task,
    with_used_modalities,
)
from pipeline.training.warm_start import WarmStart, open_warm_start

FEW_CLIPS = 20
"""With fewer independent validation clips, all epochs are trained and the last one is kept."""


_MODALITIES = {"both": "picture or sound", "picture": "picture", "sound": "sound"}


@dataclass(frozen=True)
class TrainSummary:
    """Result of a training."""

    epochs: int
    best_epoch: int
    val_macro_f1: float
    val_accuracy: float
    """Both scores are cross-fitted: each half of the validation clips chose for the other."""
    scored_rows: str = ""
    """What they are of, if not of clips; see `pipeline.tasks.base.Task`."""
    already_done: bool = False


def train(
    work: Path,
    run: Path,
    config: Config,
    progress: ProgressReporter,
    start_from: Path | None = None,
) -> TrainSummary:
    """Train on a prepared work folder, from random weights or those of the run `start_from`.

    Resumes an unfinished run. Raises UserError and DataSetError.
    """
    data = open_prepared(work)
    refuse_other_settings(data.record, config, work)
    config = with_trained_task(config, data.record, work)
    get_task(config.task).check_rows(data.rows, config.limits.max_labels, config.split)
    start = None if start_from is None else open_warm_start(start_from, data.record, config)
    # fails before the run folder is created
    record, card = plan_training(data, config, start)
    with exclusive_lock(run / LOCK_NAME, run):
        before = read_run_record(run)
        if before is not None:
            before.refuse_other(record, run)
            if before.finished is not None:
                return replace(_summary(before.finished, card.get_task()), already_done=True)
        write_run_record(run, record)
        return _train(data, run, config, progress, start, record, card)


def _train(
    data: PreparedData,
    run: Path,
    config: Config,
    progress: ProgressReporter,
    start: WarmStart | None,
    record: RunRecord,
    card: ModelCard,
) -> TrainSummary:
    front_end, modalities = build_front_end(card), _MODALITIES[card.model.modalities]
    samples = {}
    for split in ("train", "val"):
        all_samples = data.samples([split], front_end, card.frames_from_jpegs)
        samples[split] = with_used_modalities(card, all_samples)
        if len(samples[split]) < len(all_samples):
            left_out = len(all_samples) - len(samples[split])
            progress.note(
                f"left out: {counted(left_out, 'clip')} of '{split}' without {modalities}"
            )
        if not samples[split]:
            raise UserError(f"no clip of the split '{split}' has {modalities}")
    # after clips without the model's modalities are left out: they do not help to choose
    config = resolve_patience(config, samples["val"])
    selects_epoch = config.train.patience is not None
    if start is None and (note := front_end_note(config, card)):
        progress.note(note)
    classes = counted(len(card.labels), card.get_task().class_word)
    progress.note(
        f"training on {counted(len(samples['train']), 'clip')} of {classes} "
        f"({modalities.replace(' or ', ' and ')}); "
        + (
            f"the epoch is chosen on {counted(len(samples['val']), 'validation clip')}"
            if selects_epoch
            else f"{counted(len(samples['val']), 'validation clip')}, not used to choose an epoch"
        )
    )
    if not selects_epoch and _are_few(samples["val"], get_task(config.task)):
        progress.note(
            "too few independent validation clips to choose an epoch: the last one is kept"
            + (
                ""
                if get_task(config.task).decodes
                else "; `framewave crossval` evaluates every clip"
            )
        )
    _refuse_without_targets(card, samples)
    fitted = fit(card, front_end, samples["train"], samples["val"], config, run, progress, start)
    return _finish(run, fitted, samples["val"], card, record)


def _refuse_without_targets(card: ModelCard, samples: Mapping[str, list[LabelledSample]]) -> None:
    """Raise UserError if no row of a split has a known target."""
    for split, items in samples.items():
        targets = torch.cat(clip_targets(card.get_task(), items, card.labels))
        if not bool((targets != UNKNOWN).any()):
            raise UserError(
                f"no file of the split '{split}' has anything to learn from for task={card.task}: "
                "their steps have no known label (of a forecast: no step with a label after it)"
            )


def resolve_patience(config: Config, val: Sequence[LabelledSample]) -> Config:
    """Resolve patience "auto": no early stopping if too few independent validation clips.

    The best epoch on a few clips, or on many clips of one or two sources, is no better on other
    clips than the last one (benchmarks/studies/stopping.py).
    """
    if config.train.patience != "auto":
        return config
    few = _are_few(val, get_task(config.task))
    patience = None if few else min(DEFAULT_PATIENCE, config.train.max_epochs)
    train = config.train.model_copy(update={"patience": patience})
    return config.model_copy(update={"train": train})


def _are_few(val: Sequence[LabelledSample], task: Task) -> bool:
    groups = [item.row.group_or_path for item in val]
    labels = [task.row_labels(item.row) for item in val]
    if task.in_time and not task.decodes and len(set(groups)) > 1:  # each segment is an example
        pairs = [(group, [name]) for group, of in zip(groups, labels, strict=True) for name in of]
        groups, labels = [group for group, _ in pairs], [of_segment for _, of_segment in pairs]
    return n_independent(groups, labels) < FEW_CLIPS


def plan_training(
    data: PreparedData, config: Config, start: WarmStart | None = None
) -> tuple[RunRecord, ModelCard]:
    """(record that a resumed run must match, model card) of a training."""
    clip, encoder = data.record.clip, data.record.encoder
    model = (config.model if start is None else start.card.model).model_copy(
        update={"frame_encoder": encoder.name, "frame_weights": data.record.frame_weights}
    )
    task = get_task(config.task, clip.step_s)
    task.check_settings(clip, config.model if start is None else start.card.model)
    labels = task.labels(data.rows)
    # from the manifest, before any clip is read
    train_rows = [row for row in data.rows if row.trainable and row.split == "train"]
    model = resolve_modalities(
        model,
        picture=any(bool(row.has_video) for row in train_rows),
        sound=any(bool(row.has_audio) for row in train_rows),
    )
    tuned = model.trainable_blocks > 0
    model = resolve_front_end(model, data, start)
    if tuned and clip.picture_change:
        raise UserError(
            f"{data.work} was prepared with clip.picture_change=true, which is not for training "
            "with model.trainable_blocks; prepare without it into another folder"
        )
    if config.train.mirror == "always" and not (data.record.mirrored or tuned):
        raise UserError(
            f"train.mirror=always, but {data.work} was prepared without mirrored frames; prepare "
            "with train.mirror=always into another folder"
        )
    card = ModelCard(
        task=config.task.name,
        task_settings=config.task.changed(),
        task_state=task.fit_state(train_rows, labels),
        labels=labels,
        clip=clip,
        model=model,
        encoder=encoder,
        max_duration_s=data.record.max_duration_s,
        frames_from_jpegs=tuned,
        encoder_included=tuned or model.frame_weights is not None,
    )
    # raises for conflicting settings, before anything is written
    build_classifier(card, build_front_end(card))
    record = RunRecord(
        work=str(data.work.absolute()),
        data_digest=data.digest,
        card=card.model_dump(mode="json"),
        train=config.train.model_dump(mode="json"),
        begun_from=None if start is None else start.digest,
        begun_in=None if start is None or start.run is None else str(start.run.absolute()),
        environment=environment(),
        prepared_with=data.record.asked,
        prepared_in=data.record.environment,
    )
    return record, card


def resolve_front_end(
    model: ModelSettings, data: PreparedData, start: WarmStart | None
) -> ModelSettings:
    """Replace the pretrained audio front end by log-mel if its features were not prepared.

    Raises UserError if the weights of the warm start need the pretrained one.
    """
    if model.audio_front_end != "pretrained":
        return model
    tuned = model.trainable_blocks > 0
    # with a tuned frame encoder, stored features would be those of the old weights
    if data.record.sound_windows is not None and not tuned:
        return with_stored_windows(model, data.record)
    if start is not None and model.modalities != "picture":
        raise UserError(
            "the model of --from has model.audio_front_end=pretrained, but "
            f"{data.work} was prepared without features of audio windows; prepare into another "
            "folder"
        )
    return model.model_copy(update={"audio_front_end": "log_mel"})


def front_end_note(config: Config, card: ModelCard) -> str:
    """Note for the user if another audio front end is used than requested; else ""."""
    if not card.uses_audio or card.model.audio_front_end == config.model.audio_front_end:
        return ""
    why = (
        "pretrained is for a frozen frame encoder"
        if config.model.trainable_blocks
        else "the clips were prepared without features of audio windows"
    )
    return f"model.audio_front_end={card.model.audio_front_end} is used: {why}"


def _finish(
    run: Path, fitted: Fitted, val: list[LabelledSample], card: ModelCard, record: RunRecord
) -> TrainSummary:
    task = card.get_task()
    of_clips = clip_targets(task, val, card.labels)
    outputs = HeldOutOutputs([fitted.predict(val, of_clips)], torch.cat(of_clips))
    calibration = outputs.select(outputs.targets != UNKNOWN).calibrate()
    ends = np.cumsum([targets.shape[0] for targets in of_clips])[:-1]
    rows_of_clips = np.split(outputs.probabilities(calibration).numpy(), ends)
    held_out = [
        HeldOutRows(item.row, rows, task) for item, rows in zip(val, rows_of_clips, strict=True)
    ]
    # the calibration uses all validation clips; the scores stay the cross-fitted ones
    fitted.classifier.set_fusion_weights(calibration.fusion_weights)
    assert fitted.val_scores is not None
    accuracy, macro_f1 = fitted.val_scores
    card = with_encoder(card, fitted.encoder)
    state = card.task_state | task.fit_postprocessing(held_out, card.labels)
    card = card.model_copy(update={"temperatures": calibration.temperatures, "task_state": state})
    save_model(run, card, [fitted.classifier], encoder_to_save(card, fitted.encoder))
    finished = {
        "epochs": float(len(fitted.epochs)),
        "best_epoch": fitted.chosen["epoch"],
        "val_macro_f1": macro_f1,
        "val_accuracy": accuracy,
    }
    # last: a record with `finished` means that the model is complete
    write_run_record(run, record.model_copy(update={"finished": finished}))
    return _summary(finished, task)


def with_encoder(card: ModelCard, tuned: FrameEncoder | None) -> ModelCard:
    """The card with the digest of the fine-tuned frame encoder, if there is one."""
    if tuned is None:
        return card
    digest = weights_digest(tuned.state_dict())
    identity = card.encoder.model_copy(update={"weights_digest": digest})
    return card.model_copy(update={"encoder": identity})


def encoder_to_save(card: ModelCard, tuned: FrameEncoder | None) -> FrameEncoder | None:
    """The frame encoder to save with the model: fine-tuned, or from the user's weights file."""
    if tuned is None and card.encoder_included:
        return load_frame_encoder(card.model)  # the user's file may be gone when it is used
    return tuned


def _summary(finished: dict[str, float], task: Task) -> TrainSummary:
    return TrainSummary(
        epochs=int(finished["epochs"]),
        best_epoch=int(finished["best_epoch"]),
        val_macro_f1=finished["val_macro_f1"],
        val_accuracy=finished["val_accuracy"],
        scored_rows=task.scored_rows,
    )
