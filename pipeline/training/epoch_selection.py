"""What validation clips choose, and what the choice is worth on clips that had no part in it.

An epoch, and a set of answers, that are chosen because they do well on some clips do better on
these than on others: with 25 clips by three to six points (benchmarks/studies/stopping.py). So each half of
the validation clips also chooses for the other one, and the score that is reported is that of all
of them, each judged by the choice it had no part in (cross-fitting).

What happens around each epoch of training: the log of scores, and safe saving.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from data_prep.files import replacing, write_text_atomically
from models.output import ClassifierOutput, FusionWeights
from pipeline.errors import UserError
from pipeline.reporter import ProgressReporter
from pipeline.training.calibration import accuracy_and_macro_f1
from pipeline.training.lightning_module import ClipTraining

Choose = Callable[[ClassifierOutput, Tensor], tuple[FusionWeights, float]]
"""Answers about clips, and their class numbers → which answers count, and how good that is."""
_ALIKE = 5


def n_independent(groups: Sequence[str], labels: Sequence[str]) -> int:
    """How many clips tell something of their own: of one group and label, five at the most, which
    are alike."""
    counts = Counter(zip(groups, labels, strict=True))
    return sum(min(count, _ALIKE) for count in counts.values())


def split_in_halves(groups: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Bool [N]: which half each clip belongs to. Groups stay whole, and each label has about as
    many clips in one half as in the other.

    A half that lacks a label chooses badly for clips of it. So where all clips of a label would be
    in one half, as where they are of one group, they are divided.
    """
    content: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        content.setdefault(group, Counter())[label] += 1
    surplus: Counter[str] = Counter()  # how many more clips of each label the second half has
    second: dict[str, bool] = {}
    for group in sorted(content, key=lambda name: (-content[name].total(), name)):
        second[group] = _unevenness(surplus, content[group], 1) < _unevenness(
            surplus, content[group], -1
        )
        for label, count in content[group].items():
            surplus[label] += count if second[group] else -count
    found = torch.tensor([second[group] for group in groups], dtype=torch.bool)
    for label in set(labels):
        places = torch.tensor([k for k, other in enumerate(labels) if other == label])
        if bool(found[places].all() or (~found[places]).all()):
            found[places[1::2]] = ~found[places[1::2]]
    return found


def _unevenness(surplus: Counter[str], added: Counter[str], sign: int) -> tuple[int, int]:
    """How uneven the labels of a group would be once it is added to a half, then the halves."""
    labels = sum(abs(surplus[label] + sign * count) for label, count in added.items())
    return labels, abs(surplus.total() + sign * added.total())


class CrossFitted:
    """Follows the epochs of a training; each half of the validation clips chooses one of them, and
    the answers that count, for the other half.

    The kept network chooses answers apart for clips that lack a modality; here, as in every epoch,
    one set is chosen for all.
    """

    def __init__(self, second: Tensor, epochs_compete: bool) -> None:
        """second: bool [N], the clips of the second half, in the order in which epochs show them.
        epochs_compete: whether an epoch is chosen; else each replaces the one before."""
        self._halves = (~second, second)
        self._epochs_compete = epochs_compete
        self._best = [-math.inf, -math.inf]
        self._predicted = torch.full(second.shape, -1)

    def update(self, answers: ClassifierOutput, targets: Tensor, choose: Choose) -> None:
        """An epoch's answers about all validation clips, and their class numbers [N]."""
        for number, half in enumerate(self._halves):
            those = half if bool(half.any()) else ~half  # of a single clip
            weights, worth = choose(answers.select(those), targets[those])
            if worth > self._best[number] or not self._epochs_compete:
                self._best[number] = worth
                others = answers.select(~half).combined(weights)
                self._predicted[~half] = others.argmax(dim=1)

    def scores(self, targets: Tensor) -> tuple[float, float]:
        """(accuracy, macro-F1) of all clips seen, targets [N] in their order."""
        return accuracy_and_macro_f1(targets, self._predicted)

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self._best), "predicted": self._predicted.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._predicted = list(state["best"]), state["predicted"].clone()


EPOCHS_NAME = "epochs.csv"


class EpochLog(Callback):
    """Keeps the scores of every epoch, writes epochs.csv, and moves the progress bar."""

    def __init__(
        self,
        path: Path,
        max_epochs: int,
        progress: ProgressReporter,
        cross_fitted: CrossFitted | None,
    ) -> None:
        """cross_fitted: shown every epoch, where there are validation clips."""
        self._path, self.max_epochs, self._progress = path, max_epochs, progress
        self.cross_fitted = cross_fitted
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress.start("training", self.max_epochs)
        if self.rows:
            self._progress.advance(len(self.rows), "continued")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClipTraining)
        scores = pl_module.epoch_scores()
        if self.cross_fitted is not None:
            assert pl_module.validation_outputs is not None
            self.cross_fitted.update(*pl_module.validation_outputs, pl_module.select)
        self.rows.append({"epoch": trainer.current_epoch, **scores})
        names = ["epoch", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "val_selection"]
        lines = [",".join(names)]
        lines += [",".join(_number(row.get(name)) for name in names) for row in self.rows]
        write_text_atomically(self._path, "\n".join(lines) + "\n")
        score = scores.get("val_macro_f1")
        self._progress.advance(
            1,
            f"loss {scores['train_loss']:.3f}"
            + ("" if score is None else f", validation macro-F1 {score:.3f}"),
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress.finish()

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


class SnapshotCallback(Callback):
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
