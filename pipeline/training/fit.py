"""One network fitted to given clips; what the stages train and crossval do it with. Resumes."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from models.answers import best_weights
from models.audio_front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier
from models.frame_encoder import FrameEncoder
from pipeline.checkpoints.card import ModelCard
from pipeline.checkpoints.checkpoint import build_classifier
from pipeline.config import Config
from pipeline.encoding.backend import resolve_device
from pipeline.encoding.encoder import load_frame_encoder
from pipeline.reporting import Reporter
from pipeline.training.callbacks import EPOCHS_NAME, AtomicCheckpointIO, EpochLog
from pipeline.training.lightning_module import ClipTraining, settle_scales
from pipeline.training.loader import loader
from pipeline.training.training_data import LabelledSample, class_weights

_STATE = "training"


@dataclass(frozen=True)
class Fitted:
    """A trained network and how its epochs went."""

    classifier: AudioVisualClassifier
    encoder: FrameEncoder | None
    """The tuned frame encoder, where it was trained too."""
    epochs: list[dict[str, float]]
    """Scores of every epoch, as in epochs.csv."""

    @property
    def chosen(self) -> dict[str, float]:
        """The epoch whose weights were kept."""
        return max(self.epochs, key=lambda row: row["val_selection"])


def fit(
    card: ModelCard,
    front_end: AudioFrontEnd,
    train: list[LabelledSample],
    val: list[LabelledSample],
    config: Config,
    folder: Path,
    report: Reporter,
) -> Fitted:
    """Train on `train`, keep the epoch that is best on `val`; goes on where `folder` has got to.

    Raises UserError where settings clash, or the loss becomes infinite.
    """
    torch.manual_seed(config.train.seed)  # the order of what draws from it is: classifier only
    classifier = build_classifier(card, front_end)
    encoder = load_frame_encoder(card.model) if card.model.trainable_blocks > 0 else None
    weights = None
    if config.train.class_weights:
        weights = class_weights([item.row.label for item in train], card.labels)
    settle_scales(classifier, [item.sample for item in train])
    module = ClipTraining(classifier, encoder, config.train, weights)
    log = EpochLog(folder / EPOCHS_NAME, config.train.max_epochs, report)
    _run(module, train, val, card, config, folder, log)
    best = torch.load(folder / _STATE / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    choose_weights(module, val, card.labels)
    return Fitted(module.kept, module.encoder, log.rows)


def choose_weights(
    module: ClipTraining, val: list[LabelledSample], labels: tuple[str, ...]
) -> None:
    """Let validation clips say whether the joint answer, the own ones or their average is best."""
    module.eval()
    answers, targets = [], []
    with torch.inference_mode():
        for item in val:  # one by one, as they are classified
            sample = item.sample.with_frames() if item.sample.jpegs else item.sample
            answers.append(module.kept.answers(module.clip_batch([sample])))
            targets.append(torch.tensor([labels.index(item.row.label)], device=module.device))
    module.kept.weigh(best_weights(answers, targets))


def _run(
    module: ClipTraining,
    train: list[LabelledSample],
    val: list[LabelledSample],
    card: ModelCard,
    config: Config,
    folder: Path,
    log: EpochLog,
) -> None:
    device = torch.device(resolve_device(config.device))
    state = folder / _STATE
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
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
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
        loader(train, card.labels, config, lambda: trainer.current_epoch),
        loader(val, card.labels, config),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )


def _is_over(last: Path, config: Config, log: EpochLog) -> bool:
    """Whether the saved state is of a training that had ended; its log is taken over then."""
    state = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    rows = state[log.state_key]["rows"]
    waited = max(value.get("wait_count", 0) for value in state.values())
    if len(rows) < config.train.max_epochs and waited < config.train.patience:
        return False
    log.rows = list(rows)
    return True


def _quiet() -> None:
    """Lightning's hints are about clusters and loaders with workers; ours say what matters."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
