"""Training of one network on given clips, for the stages train and crossval. Resumes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from data_prep.segments import UNKNOWN
from models.audio.front_end import AudioFrontEnd
from models.backbones.frame_encoder import FrameEncoder
from models.classifier import AudioVisualClassifier
from models.output import ALL_MODALITIES, ClassifierOutput, modality_subsets
from pipeline.checkpoints.checkpoint import build_classifier
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config, TrainSettings
from pipeline.features.backend import resolve_device
from pipeline.features.encoder_weights import load_frame_encoder
from pipeline.features.samples import LabelledSample, one_thread
from pipeline.prep.prep_plan import has_side_word
from pipeline.reporter import ProgressReporter
from pipeline.tasks.base import Task
from pipeline.training.calibration import ModelOutputs
from pipeline.training.epoch_selection import (
    EPOCHS_NAME,
    AtomicCheckpointIO,
    CrossFitted,
    EpochLog,
    SnapshotCallback,
    split_in_halves,
)
from pipeline.training.lightning_module import Batch, ClipTraining, fit_feature_statistics
from pipeline.training.training_data import (
    LEAST_BATCHES,
    TrainingClips,
    batch_loader,
    class_weights,
    loader_order,
    training_clips,
)
from pipeline.training.warm_start import WarmStart

_STATE = "training"
_LAST, _BEST = "last.ckpt", "best.ckpt"


@dataclass(frozen=True)
class Fitted:
    """A trained network and the scores of its epochs."""

    module: ClipTraining
    epochs: list[dict[str, float]]  # scores of every epoch, as in epochs.csv
    chosen: dict[str, float]  # the epoch whose weights were kept
    val_scores: tuple[float, float] | None
    """Cross-fitted (accuracy, macro-F1) of the validation clips; None without such clips."""

    @property
    def classifier(self) -> AudioVisualClassifier:
        return self.module.averaged_classifier

    @property
    def encoder(self) -> FrameEncoder | None:
        """The fine-tuned frame encoder; None if it was frozen."""
        return self.module.encoder

    def predict(
        self, items: Sequence[LabelledSample], targets: Sequence[Tensor] | None = None
    ) -> ModelOutputs:
        """Outputs for these clips; see `predict_outputs`."""
        return predict_outputs(self.module, items, targets)


@dataclass(frozen=True)
class EpochSnapshot:
    """Snapshots after some epochs of a training without validation clips, which ends with the
    last of them."""

    epochs: tuple[int, ...]
    take: Callable[[int, ClipTraining], None]
    """Called with the number of completed epochs and the network."""

    @property
    def until(self) -> int:
        return max(self.epochs)


def predict_outputs(
    module: ClipTraining,
    items: Sequence[LabelledSample],
    targets: Sequence[Tensor] | None = None,
) -> ModelOutputs:
    """Outputs for the clips, and if the network uses two modalities, for each of them alone.

    targets: class indices of each clip, which a decoder is given.
    """
    was_training = module.training
    module.eval()
    outputs: dict[str, list[ClassifierOutput]] = {
        name: [] for name in modality_subsets(module.averaged_classifier.unimodal)
    }
    with torch.inference_mode():
        for number, item in enumerate(items):  # in batches of one, as clips are classified
            given = None if targets is None else module.given(targets[number])
            sample = item.sample.with_frames() if item.sample.jpegs else item.sample
            for subset, batches in outputs.items():
                masked = sample
                if subset != ALL_MODALITIES:
                    masked = sample.with_modalities(subset == "picture", subset == "sound")
                clips = module.clip_batch([masked])
                batches.append(module.averaged_classifier.outputs(clips, given).cpu())
    module.train(was_training)
    return {subset: ClassifierOutput.concat(batches) for subset, batches in outputs.items()}


def fit(
    card: ModelCard,
    front_end: AudioFrontEnd,
    train: list[LabelledSample],
    val: list[LabelledSample],
    config: Config,
    folder: Path,
    progress: ProgressReporter,
    start: WarmStart | None = None,
    watch: EpochSnapshot | None = None,
) -> Fitted:
    """Train on `train`, from the weights of `start` if given; resumes from `folder`.

    Keeps the averaged weights of the epoch that is best on `val`; without train.patience those of
    the last epoch, and `val` may be empty. Raises UserError if settings conflict, or if the loss
    becomes infinite.
    """
    # small matrices: two threads that wait for each other took 5-10 times as long on a busy CPU
    with nullcontext() if card.model.trainable_blocks else one_thread():
        torch.manual_seed(config.train.seed)  # only the classifier is initialised at random
        classifier = build_classifier(card, front_end)
        encoder = load_frame_encoder(card.model) if card.model.trainable_blocks > 0 else None
        task = card.get_task()
        held_out = TrainingClips(val, clip_targets(task, val, card.labels))
        clips = training_clips(train, task, card.labels, config.train)
        weights = _loss_weights(torch.cat(clips.targets), len(card.labels), config.train)
        # before load_into, whose state replaces these statistics
        fit_feature_statistics(classifier, [item.sample for item in train])
        if start is not None:
            start.load_into(classifier, card.labels)
        loss = task.build_loss(weights, config.train)
        settings = resolve_mirror(config.train, card)
        module = ClipTraining(classifier, encoder, settings, loss, task.per_clip, task.decodes)
        epochs = config.train.max_epochs if watch is None else watch.until
        cross_fitted = _cross_fitted(held_out, task, config)
        log = EpochLog(folder / EPOCHS_NAME, epochs, progress, cross_fitted)
        callbacks: list[Any] = [log, *_checkpoint_callbacks(config.train, folder / _STATE)]
        if watch is not None:
            callbacks.append(
                SnapshotCallback(watch.epochs, lambda epoch: watch.take(epoch, module))
            )
        # the random parts of whole clips are many already, and more steps overfit few clips
        least = 1 if task.per_clip or task.whole_clips else LEAST_BATCHES
        loaders = (
            batch_loader(clips, config, lambda: module.current_epoch, least),
            batch_loader(held_out, config) if val else None,
        )
        _run(module, loaders, config, folder, log, callbacks)
        chosen = _load_kept_epoch(module, config, folder, log)
        scores = None
        if cross_fitted is not None:
            # the loader groups clips by length, so the targets follow its order
            order = loader_order(held_out, config)
            shown = torch.cat([held_out.targets[place] for place in order])
            scores = cross_fitted.scores(known_rows(shown))
        return Fitted(module.eval(), log.rows, chosen, scores)


def _load_kept_epoch(
    module: ClipTraining, config: Config, folder: Path, log: EpochLog
) -> dict[str, float]:
    """Load the weights of the epoch that is kept → its row of the log."""
    # from the file: after early stopping the module holds a later epoch than the best
    file_name = _LAST if config.train.patience is None else _BEST
    checkpoint = torch.load(folder / _STATE / file_name, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    if file_name == _LAST:
        return log.rows[-1]
    return next(row for row in log.rows if row["epoch"] == checkpoint["epoch"])


def _loss_weights(targets: Tensor, n_classes: int, settings: TrainSettings) -> list[float]:
    weights = class_weights(known_rows(targets).tolist(), n_classes)
    if settings.class_weights:
        return weights
    return [float(weight > 0) for weight in weights]  # 0 still marks absent classes


def _cross_fitted(val: TrainingClips, task: Task, config: Config) -> CrossFitted | None:
    if not val.items:
        return None
    groups = [item.row.group_or_path for item in val.items]
    halves = split_in_halves(groups, [task.row_labels(item.row) for item in val.items])
    order = loader_order(val, config)
    n_rows = torch.tensor([known_rows(val.targets[place]).shape[0] for place in order])
    second = halves[order].repeat_interleave(n_rows)  # one for each row of logits
    return CrossFitted(second, epochs_compete=config.train.patience is not None)


def resolve_mirror(settings: TrainSettings, card: ModelCard) -> TrainSettings:
    """Turn mirroring off if a label names a side ("left"), unless it is set explicitly."""
    # with a frozen encoder, prep has already decided: mirrored features are stored or not
    tuned = card.model.trainable_blocks > 0
    if tuned and settings.mirror == "auto" and any(map(has_side_word, card.labels)):
        return settings.model_copy(update={"mirror": "never"})
    return settings


def clip_targets(
    task: Task, items: Sequence[LabelledSample], labels: tuple[str, ...]
) -> list[Tensor]:
    """Class indices of each clip, int64 [N], one for each row of its logits."""
    return [task.targets(item.row, item.sample.n_steps, labels) for item in items]


def known_rows(targets: Tensor) -> Tensor:
    """The class indices of the rows whose label is known; targets int64 [N]."""
    return targets[targets != UNKNOWN]


def _run(
    module: ClipTraining,
    loaders: tuple[DataLoader[Batch], DataLoader[Batch] | None],
    config: Config,
    folder: Path,
    log: EpochLog,
    callbacks: list[Any],
) -> None:
    device = torch.device(resolve_device(config.device))
    state = folder / _STATE
    _silence_lightning()
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=log.max_epochs,
        gradient_clip_val=config.train.gradient_clip,
        callbacks=callbacks,
        # without a version: a resumed run writes to the same folder
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2 if loaders[1] is not None else 0,
        log_every_n_steps=1,  # an epoch may have a single step
        # some CUDA kernels have no deterministic implementation
        deterministic=True if device.type == "cpu" else "warn",
    )
    last = state / _LAST
    if last.exists() and _is_finished(last, config.train, log):
        return  # killed after its last epoch, before the model was written
    trainer.fit(
        module,
        *loaders,
        ckpt_path=last if last.exists() else None,
        weights_only=True,  # unpickling could run code
    )


def _checkpoint_callbacks(settings: TrainSettings, state: Path) -> list[Any]:
    """Checkpoint of each epoch; with patience, also of the best one, and early stopping."""
    assert settings.patience != "auto"
    # not save_last, which Lightning 2.6 writes only where another checkpoint was written
    last = ModelCheckpoint(
        dirpath=state, filename=Path(_LAST).stem, monitor=None, save_top_k=1,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    if settings.patience is None:
        return [last]  # no "best": without patience the last epoch is kept
    return [
        EarlyStopping(
            "val_selection", mode="max", patience=settings.patience, check_on_train_epoch_end=True
        ),
        ModelCheckpoint(
            dirpath=state, filename=Path(_BEST).stem, monitor="val_selection", mode="max",
            save_on_train_epoch_end=True, enable_version_counter=False,
        ),
        last,
    ]  # fmt: skip


def _is_finished(last: Path, settings: TrainSettings, log: EpochLog) -> bool:
    """Whether the checkpoint is of a finished training; if so, its log is restored."""
    state = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    rows = state[log.state_key]["rows"]
    # EarlyStopping is the only callback with a wait_count
    waited = max(value.get("wait_count", 0) for value in state.values())
    assert settings.patience != "auto"
    has_patience = settings.patience is None or waited < settings.patience
    if len(rows) < log.max_epochs and has_patience:
        return False
    log.load_state_dict(state[log.state_key])
    return True


def _silence_lightning() -> None:
    # its hints are about clusters and loaders with workers, which do not apply here
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
