"""

Training the networks of a crossval, with a stand-in for the training itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_prep.manifest import ManifestRow
from models.output import ClassifierOutput
from pipeline.crossval import fold_models as module
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.crossval.fold_models import (
    Trainer,
    candidate_epochs,
    final_models,
    fold_models,
    fold_path,
)
from pipeline.features.samples import LabelledSample, Sample
from pipeline.reporter import SilentReporter

EPOCHS = (1, 2, 4)


class StandIn:
    """A network that says nothing; how often it was trained is what is asked."""

    def __init__(self) -> None:
        self.trainings: list[list[int]] = []
        self.left_behind: list[int] = []
        """Epochs which the training state of the first training is past."""

    @property
    def averaged_classifier(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def fit(self, card, front_end, train, val, config, folder: Path, report, *, watch) -> None:
        (folder / "training").mkdir(parents=True, exist_ok=True)
        (folder / "training" / "last.ckpt").touch()
        todo = [e for e in watch.epochs if self.trainings or e not in self.left_behind]
        self.trainings.append(todo)
        for epoch in todo:
            watch.take(epoch, self)

    def say(self, _, items) -> dict[str, ClassifierOutput]:
        return {"all": ClassifierOutput(torch.zeros(len(items), 2), {}, {})}


@pytest.fixture
def stand_in(monkeypatch) -> StandIn:
    found = StandIn()
    monkeypatch.setattr(module, "fit", found.fit)
    monkeypatch.setattr(module, "predict_outputs", found.say)
    return found


@pytest.fixture
def trainer(config) -> Trainer:
    sample = Sample(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=bool),
                    torch.zeros(1, dtype=bool))  # fmt: skip
    items = [LabelledSample(ManifestRow(f"{k}", id=f"{k}", label="a"), sample) for k in range(4)]
    return Trainer(
        None, None, FoldAssignment(items, {f"{k}": "xy"[k % 2] for k in range(4)}), config
    )


@pytest.fixture
def config():
    from pipeline.config import load_config

    return load_config(None, [])


def test_networks_on_disk_are_not_trained_again(tmp_path, stand_in, trainer) -> None:
    networks = fold_models(tmp_path, ["x", "y"], seeds=2)
    first = trainer.train(networks, EPOCHS, "", SilentReporter())
    assert len(stand_in.trainings) == 4
    again = trainer.train(networks, EPOCHS, "", SilentReporter())
    assert len(stand_in.trainings) == 4
    for network, after in first.items():
        assert list(after) == list(EPOCHS)
        own = ["0", "2"] if network.held_out_fold == "x" else ["1", "3"]
        assert [fold.ids for fold in again[network].values()] == [own] * 3
        assert not (network.folder / "training").exists()


@pytest.mark.parametrize("damaged", EPOCHS)
def test_a_damaged_file_is_made_anew(tmp_path, stand_in, trainer, damaged: int) -> None:
    (network,) = final_models(tmp_path, seeds=1)
    trainer.train([network], EPOCHS, "", SilentReporter())
    path = fold_path(network.folder, damaged)
    path.write_bytes(path.read_bytes()[:20])
    found = trainer.train([network], EPOCHS, "", SilentReporter())
    assert list(found[network]) == list(EPOCHS)
    assert len(stand_in.trainings) == 2


@pytest.mark.parametrize("lost", EPOCHS)
def test_a_training_state_that_is_past_a_damaged_file_is_given_up(
    tmp_path, stand_in, trainer, lost: int
) -> None:
    stand_in.left_behind = [lost]
    (network,) = final_models(tmp_path, seeds=1)
    found = trainer.train([network], EPOCHS, "", SilentReporter())
    assert list(found[network]) == list(EPOCHS)
    assert [len(epochs) for epochs in stand_in.trainings] == [2, 3]


def test_weights_are_kept_only_where_they_may_be_needed(tmp_path, stand_in, trainer) -> None:
    of_folds = fold_models(tmp_path, ["x", "y"], seeds=1)
    on_all = final_models(tmp_path, seeds=1)
    found = trainer.train([*of_folds, *on_all], [4], "", SilentReporter())
    assert [bool(found[network][4].state) for network in (*of_folds, *on_all)] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "expected"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (30, (4, 8, 15, 23, 30))]
)
def test_few_epochs_are_watched_and_the_last_is_one_of_them(most: int, expected) -> None:
    assert candidate_epochs(most) == expected


@pytest.mark.parametrize("gap_s", [0.0, 6.0, 16.0])
def test_neighbours_of_judged_parts_are_not_trained_on(trainer, gap_s: float) -> None:
    """Parts of 5 s every 10 s of one recording, the last four judged: 5 s lie between two."""
    rows = [ManifestRow("/a.wav", 10.0 * k, 10.0 * k + 5, "a", id=f"{k}") for k in range(12)]
    items = [LabelledSample(row, trainer.assignment.items[0].sample) for row in rows]
    assignment = FoldAssignment(items, {f"{k}": "y" if k >= 8 else "x" for k in range(12)}, gap_s)
    assert [item.row.id for item in assignment.inside("y")] == ["8", "9", "10", "11"]
    n_left_out = {0.0: 0, 6.0: 1, 16.0: 2}[gap_s]
    assert [item.row.id for item in assignment.outside("y")] == [
        f"{k}" for k in range(8 - n_left_out)
    ]
    assert len(assignment.outside("x")) == 4 - n_left_out
