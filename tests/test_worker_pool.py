"""Which networks of a crossval are trained where, with stand-ins for training and for workers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from data_prep.dataset.manifest import ManifestRow
from pipeline.config import load_config
from pipeline.crossvalidation import worker_pool as module
from pipeline.crossvalidation.division import Division
from pipeline.crossvalidation.messages import NetworkTrained
from pipeline.crossvalidation.networks import Network, fold_networks
from pipeline.crossvalidation.worker_pool import WorkerPool
from pipeline.encoding.samples import Sample
from pipeline.errors import UserError
from pipeline.reporting import Silent
from pipeline.training.training_data import LabelledSample

HERE = "here"


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class StandInTrainer:
    """Notes where each network was trained; `config` asks for workers."""

    card = None

    def __init__(self, settings: list[str], n_clips: int = 4) -> None:
        self.config = load_config(None, ["device=cpu", *settings])
        sample = Sample(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=bool),
                        torch.zeros(1, dtype=bool))  # fmt: skip
        rows = [ManifestRow(f"{k}", id=f"{k}", label="a") for k in range(n_clips)]
        items = [LabelledSample(row, sample) for row in rows]
        self.division = Division(items, {row.id: "x" for row in rows})
        self.where: dict[Network, object] = {}
        self.workers: list[StandInWorker] = []
        self.barrier = threading.Barrier(self.config.crossval.workers or 1)

    def train_one(self, network: Network, epochs: tuple[int, ...]) -> None:
        if HERE not in self.where.values():
            self.meet()
        self.where[network] = HERE

    def meet(self) -> None:
        """Wait until every worker and this process has a network."""
        if self.workers:
            self.barrier.wait(timeout=30)


class StandInWorker:
    def __init__(self, trainer: StandInTrainer, fate: str) -> None:
        self._trainer, self._fate, self._is_first, self.closed = trainer, fate, True, False
        trainer.workers.append(self)

    exit_code = "signal 9"

    def train(self, network: Network, epochs: tuple[int, ...]) -> NetworkTrained:
        if self._is_first:
            self._trainer.meet()
        self._is_first = False
        if self._fate == "dies":
            raise EOFError
        self._trainer.where[network] = self
        return NetworkTrained("the loss became infinite" if self._fate == "refuses" else None)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pool_of(tmp_path, monkeypatch):
    """A pool with workers of these fates, its trainer and its notes."""

    def make(*fates: str) -> tuple[WorkerPool, StandInTrainer, Notes]:
        trainer, notes = StandInTrainer([f"crossval.workers={len(fates) + 1}"]), Notes()
        left = iter(fates)
        monkeypatch.setattr(module, "_Worker", StandInWorker)
        monkeypatch.setattr(
            module.WorkerPool,
            "_start",
            lambda pool, n: pool._workers.extend(
                StandInWorker(trainer, next(left)) for _ in range(n)
            ),
        )
        return WorkerPool(trainer, tmp_path, notes), trainer, notes

    return make


NETWORKS = fold_networks(Path("x"), ["a", "b", "c"], seeds=4)


def test_every_network_is_trained_once_and_named_once(pool_of) -> None:
    pool, trainer, notes = pool_of("trains", "trains")
    named = list(pool.train(NETWORKS, (1,)))
    assert sorted(named, key=NETWORKS.index) == NETWORKS
    assert set(trainer.where) == set(NETWORKS)
    assert set(trainer.where.values()) == {HERE, *trainer.workers}
    assert not notes.texts


def test_what_a_dead_worker_leaves_is_trained_by_the_others(pool_of) -> None:
    pool, trainer, notes = pool_of("dies", "trains")
    assert set(pool.train(NETWORKS, (1,))) == set(trainer.where) == set(NETWORKS)
    assert set(trainer.where.values()) <= {HERE, trainer.workers[1]}
    (text,) = notes.texts
    assert "has ended (signal 9)" in text
    assert set(pool.train(NETWORKS[:3], (1,))) == set(NETWORKS[:3])
    assert len(notes.texts) == 1


def test_all_workers_dead_it_goes_on_alone(pool_of) -> None:
    pool, trainer, _ = pool_of("dies", "dies")
    assert len(list(pool.train(NETWORKS, (1,)))) == len(NETWORKS)
    assert set(trainer.where.values()) == {HERE}


def test_what_a_worker_refuses_is_refused_here(pool_of) -> None:
    pool, trainer, _ = pool_of("refuses")
    with pytest.raises(UserError, match="infinite"):
        list(pool.train(NETWORKS, (1,)))
    pool.close()
    assert trainer.workers[0].closed


@pytest.mark.parametrize(
    ("settings", "n_networks", "n_clips", "expected"),
    [
        (["crossval.workers=4"], 12, 4, 3),
        (["crossval.workers=4"], 2, 4, 1),
        (["crossval.workers=4"], 0, 4, 0),
        (["crossval.workers=1"], 12, 4000, 0),
        ([], 12, 4, 0),
        ([], 12, 640, 7),
        (["train.batch_size=4096"], 12, 640, 0),
    ],
)
def test_how_many_start(tmp_path, monkeypatch, settings, n_networks, n_clips, expected) -> None:
    """With 8 cores and 30 epochs."""
    monkeypatch.setattr(module, "count_cores", lambda wish: wish or 8)
    pool = WorkerPool(StandInTrainer(settings, n_clips), tmp_path, Silent())
    assert pool._n_workers(n_networks, 30) == expected


def test_on_a_gpu_there_is_one_process(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "resolve_device", lambda _: "cuda")
    pool = WorkerPool(StandInTrainer(["crossval.workers=4"]), tmp_path, Silent())
    assert pool._n_workers(12, 30) == 0


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "samples").write_text("in the way")
    notes, trainer = Notes(), StandInTrainer(["crossval.workers=2"])
    pool = WorkerPool(trainer, tmp_path, notes)
    assert list(pool.train(NETWORKS[:2], (1,))) == NETWORKS[:2]
    assert "one after the other" in notes.texts[0]
