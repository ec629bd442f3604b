"""Choice of the epoch on validation clips, its unbiased score, and callbacks around each epoch.

The epoch and the fusion weights that score best on some clips are optimistic on these same clips:
with 25 clips by three to six points (benchmarks/studies/stopping.py). So the reported score is
cross-fitted: each half of the validation clips chooses for the other half, and every clip is scored
with the choice made by the other half.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
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
"""(output of N clips, class indices [N]) → (fusion weights, score of the choice)."""
_MAX_ALIKE = 5  # clips of one group and label are near copies: more of them add no information


def n_independent(groups: Sequence[str], labels: Sequence[Sequence[str]]) -> int:
    """Approximate number of independent clips: at most five per group and set of labels count."""
    counts = Counter(zip(groups, map(tuple, labels), strict=True))
    return sum(min(count, _MAX_ALIKE) for count in counts.values())


def split_in_halves(groups: Sequence[str], labels: Sequence[Sequence[str]]) -> Tensor:
    """bool [N]: whether each clip is in the second half. labels: those of each clip.

    Groups stay whole and the labels are balanced between the halves. A label whose clips would all
    be in one half, for example because they are of one group, is split nevertheless.
    """
    content: dict[str, Counter[str]] = {}
    for group, of_clip in zip(groups, labels, strict=True):
        content.setdefault(group, Counter()).update(of_clip)
    surplus: Counter[str] = Counter()  # how many more clips of each label the second half has
    second: dict[str, bool] = {}
    # largest groups first: small ones can still even out what these leave
    for group in sorted(content, key=lambda name: (-content[name].total(), name)):
        second[group] = _imbalance(surplus, content[group], 1) < _imbalance(
            surplus, content[group], -1
        )
        for label, count in content[group].items():
            surplus[label] += count if second[group] else -count
    in_second = torch.tensor([second[group] for group in groups], dtype=torch.bool)
    clips_of: dict[str, list[int]] = defaultdict(list)
    for k, of_clip in enumerate(labels):
        for label in set(of_clip):
            clips_of[label].append(k)
    for clips in clips_of.values():
        index = torch.tensor(clips)
        if bool(in_second[index].all() or (~in_second[index]).all()):
            # a half without the label would choose badly for its clips
            in_second[index[1::2]] = ~in_second[index[1::2]]
    return in_second


def _imbalance(surplus: Counter[str], added: Counter[str], sign: int) -> tuple[int, int]:
    """(imbalance of the group's labels, imbalance of the halves) after adding it to a half."""
    labels = sum(abs(surplus[label] + sign * count) for label, count in added.items())
    return labels, abs(surplus.total() + sign * added.total())


class CrossFitted:
    """Cross-fitted validation score: each half chooses epoch and fusion weights for the other.

    One set of fusion weights is chosen for all clips, as in every epoch; the final model has a set
    for each modality subset.
    """

    def __init__(self, second: Tensor, epochs_compete: bool) -> None:
        """second: bool [N], clips of the second half, in the order of the validation loader.
        epochs_compete: whether the best epoch is chosen; if not, the last one counts."""
        self._halves = (~second, second)
        self._epochs_compete = epochs_compete
        self._best = [-math.inf, -math.inf]
        self._predicted = torch.full(second.shape, -1)  # [N] class indices, -1 before any epoch

    def update(self, outputs: ClassifierOutput, targets: Tensor, choose: Choose) -> None:
        """Take an epoch's output for all N validation clips; targets int64 [N]."""
        for number, half in enumerate(self._halves):
            choosing = half if bool(half.any()) else ~half  # empty if there is a single clip
            weights, score = choose(outputs.select(choosing), targets[choosing])
            if score > self._best[number] or not self._epochs_compete:
                self._best[number] = score
                logits = outputs.select(~half).combined(weights)  # [n, K] of the other half
                self._predicted[~half] = logits.argmax(dim=1)

    def scores(self, targets: Tensor) -> tuple[float, float]:
        """(accuracy, macro-F1) of all clips; targets [N] in the order of `update`."""
        return accuracy_and_macro_f1(targets, self._predicted)

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self._best), "predicted": self._predicted.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._predicted = list(state["best"]), state["predicted"].clone()


EPOCHS_NAME = "epochs.csv"


class EpochLog(Callback):
    """Writes the scores of every epoch to epochs.csv and updates the progress bar."""

    def __init__(
        self,
        path: Path,
        max_epochs: int,
        progress: ProgressReporter,
        cross_fitted: CrossFitted | None,
    ) -> None:
        """cross_fitted: updated after every epoch; None without validation clips."""
        self._path, self.max_epochs, self._progress = path, max_epochs, progress
        self.cross_fitted = cross_fitted
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress.start("training", self.max_epochs)
        if self.rows:  # resumed from a checkpoint
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
        lines += [",".join(_cell(row.get(name)) for name in names) for row in self.rows]
        # the whole file each time: after a resume the last epoch may already be in it
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
        cross_fitted = self.cross_fitted
        return {
            "rows": self.rows,
            "cross_fitted": None if cross_fitted is None else cross_fitted.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "cross_fitted" not in state_dict:  # checkpoints of older versions
            raise UserError(
                f"the training in {self._path.parent} was started by an older framewave; delete "
                "the folder to start again, or use another --run"
            )
        self.rows = list(state_dict["rows"])
        if self.cross_fitted is not None:
            self.cross_fitted.load_state_dict(state_dict["cross_fitted"])


class SnapshotCallback(Callback):
    """Calls `take` with the number of completed epochs, after each of `epochs`."""

    def __init__(self, epochs: Collection[int], take: Callable[[int], None]) -> None:
        self._epochs, self._take = epochs, take

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 in self._epochs:
            # before the checkpoint: a run killed in between takes it again from the same weights
            self._take(trainer.current_epoch + 1)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves by temporary file and rename, so that a killed process leaves no partial checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
