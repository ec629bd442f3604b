"""What happens around each epoch of training: the log of scores, and safe saving."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO

from data_prep.files import replacing, write_text_atomically
from pipeline.errors import UserError
from pipeline.reporting import Reporter
from pipeline.training.lightning_module import ClipTraining
from pipeline.training.validation import CrossFitted

EPOCHS_NAME = "epochs.csv"


class EpochLog(Callback):
    """Keeps the scores of every epoch, writes epochs.csv, and moves the progress bar."""

    def __init__(
        self, path: Path, max_epochs: int, report: Reporter, cross_fitted: CrossFitted | None
    ) -> None:
        """cross_fitted: shown every epoch, where there are validation clips."""
        self._path, self.max_epochs, self._report = path, max_epochs, report
        self.cross_fitted = cross_fitted
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._report.start("training", self.max_epochs)
        if self.rows:
            self._report.advance(len(self.rows), "continued")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClipTraining)
        scores = pl_module.epoch_scores()
        if self.cross_fitted is not None:
            assert pl_module.validated is not None
            self.cross_fitted.see(*pl_module.validated, pl_module.choose)
        self.rows.append({"epoch": trainer.current_epoch, **scores})
        names = ["epoch", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "val_selection"]
        lines = [",".join(names)]
        lines += [",".join(_number(row.get(name)) for name in names) for row in self.rows]
        write_text_atomically(self._path, "\n".join(lines) + "\n")
        score = scores.get("val_macro_f1")
        self._report.advance(
            1,
            f"loss {scores['train_loss']:.3f}"
            + ("" if score is None else f", validation macro-F1 {score:.3f}"),
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._report.finish()

    def state_dict(self) -> dict[str, Any]:
        fitted = self.cross_fitted
        return {"rows": self.rows, "cross_fitted": None if fitted is None else fitted.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "cross_fitted" not in state_dict:
            raise UserError(
                f"the training in {self._path.parent} was begun by an older framewave; delete the "
                "folder to start anew, or use another --run"
            )
        self.rows = list(state_dict["rows"])
        if self.cross_fitted is not None:
            self.cross_fitted.load_state_dict(state_dict["cross_fitted"])


class AfterEpochs(Callback):
    """Calls `take` with the number of epochs trained, after those epochs.

    The training state is saved later than that, so what was taken is there whenever a training is
    continued, or is taken again from the same weights.
    """

    def __init__(self, epochs: Collection[int], take: Callable[[int], None]) -> None:
        self._epochs, self._take = epochs, take

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 in self._epochs:
            self._take(trainer.current_epoch + 1)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Training state is the old file or the new one, whenever the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
