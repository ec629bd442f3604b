"""train: a prepared work folder → a run folder with the best model; resumes."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from data_prep.dataset.splits import check_trainable
from models.frame_encoder import FrameEncoder
from pipeline.checkpoints.card import ModelCard
from pipeline.checkpoints.checkpoint import build_classifier, build_front_end, save_model
from pipeline.config import Config
from pipeline.encoding.backend import resolve_device
from pipeline.encoding.encoder import load_frame_encoder, weights_digest
from pipeline.records.run_record import RunRecord, environment, read_run_record, write_run_record
from pipeline.records.workspace import refuse_other_settings
from pipeline.reporting import Reporter
from pipeline.training.callbacks import EPOCHS_NAME, AtomicCheckpointIO, EpochLog
from pipeline.training.lightning_module import ClipTraining
from pipeline.training.loader import loader
from pipeline.training.training_data import (
    LabelledSample,
    PreparedData,
    class_weights,
    open_prepared,
    resolve_modalities,
)

_STATE = "training"


@dataclass(frozen=True)
class TrainSummary:
    """How training ended."""

    epochs: int
    best_epoch: int
    val_macro_f1: float
    val_accuracy: float
    already_done: bool = False


def train(work: Path, run: Path, config: Config, report: Reporter) -> TrainSummary:
    """Train on a prepared work folder. Raises UserError and DataSetError."""
    data = open_prepared(work)
    refuse_other_settings(data.record, config, work)
    check_trainable(data.rows, config.limits.max_labels)
    record, card = _plan(data, config)
    before = read_run_record(run)
    if before is not None:
        before.refuse_other(record, run)
        if before.finished is not None:
            return replace(_summary(before.finished), already_done=True)
    run.mkdir(parents=True, exist_ok=True)
    write_run_record(run, record)
    torch.manual_seed(config.train.seed)  # the order of what draws from it is: classifier only
    front_end = build_front_end(card)
    classifier = build_classifier(card, front_end)
    tuned = card.model.trainable_blocks > 0
    encoder = load_frame_encoder(card.model) if tuned else None
    samples = {name: data.samples([name], front_end, tuned) for name in ("train", "val")}
    report.note(
        f"training on {len(samples['train'])} clips, choosing on {len(samples['val'])}: "
        f"{len(card.labels)} labels, {card.model.modalities}"
    )
    weights = None
    if config.train.class_weights:
        weights = class_weights([item.row.label for item in samples["train"]], card.labels)
    module = ClipTraining(classifier, encoder, config.train, weights)
    log = EpochLog(run / EPOCHS_NAME, config.train.max_epochs, report)
    _fit(module, samples, card, config, run, log)
    return _finish(run, module, card, record, log)


def _plan(data: PreparedData, config: Config) -> tuple[RunRecord, ModelCard]:
    """What is to be trained: the record that a resumed run must match, and the model's card."""
    clip, encoder = data.record.clip, data.record.encoder
    model = config.model.model_copy(
        update={"frame_encoder": encoder.name, "frame_weights": data.record.frame_weights}
    )
    # "auto" is settled from the manifest, before any clip is read.
    train_rows = [row for row in data.rows if row.trainable and row.split == "train"]
    model = resolve_modalities(
        model,
        picture=any(bool(row.has_video) for row in train_rows),
        sound=any(bool(row.has_audio) for row in train_rows),
    )
    tuned = model.trainable_blocks > 0
    card = ModelCard(
        labels=data.labels,
        clip=clip,
        model=model,
        encoder=encoder,
        max_duration_s=data.record.max_duration_s,
        frames_from_jpegs=tuned,
        encoder_included=tuned or model.frame_weights is not None,
    )
    build_classifier(
        card, build_front_end(card)
    )  # settings that clash are refused before anything is written
    record = RunRecord(
        work=str(data.work.absolute()),
        data_digest=data.digest,
        card=card.model_dump(mode="json"),
        train=config.train.model_dump(mode="json"),
        environment=environment(),
    )
    return record, card


def _fit(
    module: ClipTraining,
    samples: dict[str, list[LabelledSample]],
    card: ModelCard,
    config: Config,
    run: Path,
    log: EpochLog,
) -> None:
    device = torch.device(resolve_device(config.device))
    state = run / _STATE
    checkpoints = ModelCheckpoint(
        dirpath=state, filename="best", monitor="val_selection", mode="max", save_last=True,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    stopping = EarlyStopping(
        "val_selection", mode="max", patience=config.train.patience, check_on_train_epoch_end=True
    )
    _quiet()
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=config.train.max_epochs,
        gradient_clip_val=config.train.gradient_clip,
        callbacks=[log, stopping, checkpoints],
        logger=TensorBoardLogger(run, name="tensorboard", version=""),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2,
        log_every_n_steps=1,
        deterministic=True if device.type == "cpu" else "warn",
    )
    last = state / "last.ckpt"
    if last.exists() and _is_over(last, config, log):
        return  # it was killed after its last epoch, before the model was written
    trainer.fit(
        module,
        loader(samples["train"], card.labels, config, lambda: trainer.current_epoch),
        loader(samples["val"], card.labels, config),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )


def _finish(
    run: Path, module: ClipTraining, card: ModelCard, record: RunRecord, log: EpochLog
) -> TrainSummary:
    best = torch.load(run / _STATE / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    encoder: FrameEncoder | None = module.encoder
    if encoder is not None:
        identity = card.encoder.model_copy(
            update={"weights_digest": weights_digest(encoder.state_dict())}
        )
        card = card.model_copy(update={"encoder": identity})
    elif card.encoder_included:
        encoder = load_frame_encoder(card.model)
    save_model(run, card, module.kept, encoder)
    chosen = max(log.rows, key=lambda row: row["val_selection"])
    finished = {
        "epochs": float(len(log.rows)),
        "best_epoch": chosen["epoch"],
        "val_macro_f1": chosen["val_macro_f1"],
        "val_accuracy": chosen["val_accuracy"],
    }
    write_run_record(run, record.model_copy(update={"finished": finished}))
    return _summary(finished)


def _is_over(last: Path, config: Config, log: EpochLog) -> bool:
    """Whether the saved state is of a training that had ended; its log is taken over then."""
    state = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    rows = state[log.state_key]["rows"]
    waited = max(value.get("wait_count", 0) for value in state.values())
    if len(rows) < config.train.max_epochs and waited < config.train.patience:
        return False
    log.rows = list(rows)
    return True


def _summary(finished: dict[str, float]) -> TrainSummary:
    return TrainSummary(
        epochs=int(finished["epochs"]),
        best_epoch=int(finished["best_epoch"]),
        val_macro_f1=finished["val_macro_f1"],
        val_accuracy=finished["val_accuracy"],
    )


def _quiet() -> None:
    """Lightning's hints are about clusters and loaders with workers; ours say what matters."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
