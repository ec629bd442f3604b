"""Which networks of a crossval are trained where; real processes that train nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data_prep.manifest import ManifestRow
from data_prep.status import DataSetError
from pipeline.config import load_config
from pipeline.crossval import worker_pool as module
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.crossval.fold_outputs import FoldModel
from pipeline.crossval.worker_pool import WorkerPool
from pipeline.errors import UserError
from pipeline.features.samples import LabelledSample, Sample
from pipeline.reporter import SilentReporter


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class StandInTrainer:
    """What is trained in this process says so; `config` asks for workers."""

    card = None

    def __init__(self, settings: list[str], n_clips: int = 4) -> None:
        self.config = load_config(None, ["device=cpu", *settings])
        sample = Sample(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=bool),
                        torch.zeros(1, dtype=bool))  # fmt: skip
        rows = [ManifestRow(f"{k}", id=f"{k}", label="a") for k in range(n_clips)]
        items = [LabelledSample(row, sample) for row in rows]
        self.assignment = FoldAssignment(items, {row.id: "x" for row in rows})

    def train_one(self, network: FoldModel, epochs: tuple[int, ...]) -> None:
        network.folder.mkdir(parents=True, exist_ok=True)
        (network.folder / "trained").write_text(f"{os.getpid()} 1")


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """A pool of two workers, with its notes."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    notes = Notes()
    made = WorkerPool(
        StandInTrainer(["crossval.workers=2"]), tmp_path, notes, "tests.helpers.stand_in_trainer"
    )
    made.notes = notes.texts
    yield made
    made.close()
    assert not (tmp_path / "samples").exists()


def networks(folder: Path, *names: str) -> list[FoldModel]:
    return [FoldModel(0, "x", folder / name) for name in names]


def trained_by(network: FoldModel) -> int:
    """The process that did it, with one thread."""
    pid, n_threads = (network.folder / "trained").read_text().split()
    assert n_threads == "1"
    return int(pid)


def test_networks_are_trained_once_each_by_workers_that_stay(pool, tmp_path) -> None:
    for names in ("abcdef", "gh"):
        wanted = networks(tmp_path, *names)
        named = list(pool.train(wanted, (1, 2)))
        assert sorted(named, key=wanted.index) == wanted
        pids = {trained_by(network) for network in wanted}
        assert os.getpid() not in pids
        assert pids <= {worker._popen.pid for worker in pool._workers}
    assert len(pool._workers) == 2
    assert not pool.notes


def test_what_a_dead_worker_was_at_is_trained_here(pool, tmp_path) -> None:
    wanted = networks(tmp_path, "dies", *"abcde")
    assert set(pool.train(wanted, (1,))) == set(wanted)
    assert trained_by(wanted[0]) == os.getpid()
    (text,) = pool.notes
    assert "has ended (signal 9)" in text
    assert len(pool._workers) == 1
    assert len(list(pool.train(networks(tmp_path, "f", "g", "h"), (1,)))) == 3
    assert len(pool._workers) == 1  # none takes the dead one's place


def test_all_workers_dead_it_goes_on_alone(pool, tmp_path) -> None:
    wanted = networks(tmp_path, "dies", "dies too", *"abc")
    assert set(pool.train(wanted, (1,))) == set(wanted)
    assert len(pool.notes) == 2
    assert not pool._workers
    last = networks(tmp_path, "f", "g")
    assert list(pool.train(last, (1,))) == last
    assert {trained_by(network) for network in last} == {os.getpid()}


def test_what_a_worker_meets_is_raised_here(pool, tmp_path) -> None:
    assert len(list(pool.train(networks(tmp_path, "a", "b"), (1,)))) == 2
    for name, expected in (
        ("refuses", UserError("the loss became infinite")),
        ("lacks", DataSetError("a part is damaged")),
        ("fills", OSError(errno.ENOSPC, "No space left on device")),
        ("hides", RuntimeError("_CannotBeSentError: 1 and 2")),
    ):
        with pytest.raises(type(expected)) as caught:
            list(pool.train(networks(tmp_path, name), (1,)))
        assert str(caught.value) == str(expected)
        assert getattr(caught.value, "errno", None) == getattr(expected, "errno", None)
    assert len(pool._workers) == 2
    assert not pool.notes


def test_a_worker_ends_with_its_parent_and_at_what_it_cannot_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    for said, code in ((b"", 0), ((3).to_bytes(8, "little") + b"abc", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.stand_in_trainer"], input=said,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code


@pytest.mark.parametrize(
    ("settings", "n_networks", "n_clips", "expected"),
    [
        (["crossval.workers=4"], 12, 4, 4),
        (["crossval.workers=4"], 2, 4, 2),
        (["crossval.workers=4"], 1, 4, 0),
        (["crossval.workers=4"], 0, 4, 0),
        (["crossval.workers=1"], 12, 4000, 0),
        ([], 12, 4, 0),
        ([], 12, 640, 6),
        (["train.batch_size=4096"], 12, 640, 0),
    ],
)
def test_how_many_start(tmp_path, monkeypatch, settings, n_networks, n_clips, expected) -> None:
    """With 8 cores, 6.5 GB of memory and 30 epochs."""
    monkeypatch.setattr(module, "count_cores", lambda wish: wish or 8)
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 6_500_000_000)
    pool = WorkerPool(StandInTrainer(settings, n_clips), tmp_path, SilentReporter())
    assert pool._n_workers(n_networks, 30) == expected


def test_on_a_gpu_there_is_one_process(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "resolve_device", lambda _: "cuda")
    pool = WorkerPool(StandInTrainer(["crossval.workers=4"]), tmp_path, SilentReporter())
    assert pool._n_workers(12, 30) == 0


def test_a_disk_that_is_full_is_said_once_and_one_process_does_it(pool, tmp_path) -> None:
    def full(folder: Path, samples: object) -> None:
        folder.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_samples", full)
        for names in ("ab", "cd"):
            wanted = networks(tmp_path, *names)
            assert list(pool.train(wanted, (1,))) == wanted
            assert {trained_by(network) for network in wanted} == {os.getpid()}
    (text,) = pool.notes
    assert "one after the other" in text
    assert "No space left on device" in text


def test_closing_ends_what_is_still_at_work(pool, tmp_path) -> None:
    training = pool.train(networks(tmp_path, *"abcdef"), (1,))
    next(training)
    pids = [worker._popen.pid for worker in pool._workers]
    began_s = time.monotonic()
    pool.close()
    assert time.monotonic() - began_s < 60
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
