"""What a worker of a crossval and its parent say to each other.

Networks of a crossval side by side, each in one of several processes.
"""

from __future__ import annotations

import copy
import math
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.manifest import ManifestRow
from data_prep.worker.protocol import read_message, write_message
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.cores import available_memory_bytes, count_cores
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.crossval.fold_models import FoldModel, Trainer
from pipeline.features.backend import resolve_device
from pipeline.features.samples import map_samples, write_samples
from pipeline.reporter import ProgressReporter
from pipeline.training.training_data import LabelledSample


@dataclass(frozen=True)
class WorkerSetup:
    """What all networks share; the first message."""

    card: ModelCard
    config: Config
    rows: list[ManifestRow]
    fold_of: dict[str, str]
    gap_s: float
    samples: Path
    """Where the samples of `rows` were written; see `mapped_samples`."""

    def trainer(self) -> Trainer:
        """The same as the parent's, but for its samples, which are mapped."""
        samples = map_samples(self.samples)
        items = [LabelledSample(*pair) for pair in zip(self.rows, samples, strict=True)]
        division = FoldAssignment(items, self.fold_of, self.gap_s)
        return Trainer(self.card, build_front_end(self.card), division, self.config)


@dataclass(frozen=True)
class FoldModelJob:
    """A network to train until the last of these epochs."""

    network: FoldModel
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class FoldModelTrained:
    """The answer to a job; error: what ended the training, to be raised by the parent."""

    error: Exception | None = None

    @classmethod
    def failed(cls, error: Exception) -> FoldModelTrained:
        """With the error itself, or its text where it cannot be sent."""
        try:
            copy.deepcopy(error)  # made anew as it is from a message
        except Exception:  # noqa: BLE001 - whatever its class does then
            return cls(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(error)


_SAMPLES = "samples"
_WORKER = "pipeline.crossval.worker"
_WORTH_STEPS = 1500
"""Fewer optimiser steps than these, of all networks, take about as long as a worker's start."""
_WORKER_BYTES = 1_000_000_000
"""Memory of a worker beside the samples, which are there once: 0.5 to 0.9 GB were measured."""
_LAST_WAIT_S = 10.0


class WorkerPool:
    """Trains networks on several cores, one thread each; on a GPU one after the other.

    Workers start with the first networks that are worth it and stay until `close`. What a network
    becomes does not depend on where it is trained.
    """

    def __init__(
        self, trainer: Trainer, folder: Path, progress: ProgressReporter, module: str = _WORKER
    ) -> None:
        """folder: of the networks; the samples are written there meanwhile, for all workers."""
        self._trainer, self._folder, self._progress = trainer, folder, progress
        self._module = module
        self._workers: list[_Worker] = []
        self._starts_more = True

    def train(self, networks: Sequence[FoldModel], epochs: tuple[int, ...]) -> Iterator[FoldModel]:
        """Train these; each is named when its files are on disk. Raises UserError as `fit` does.

        What a worker was at when it died is trained in this process, and so is all when none is
        left.
        """
        self._start(self._n_workers(len(networks), max(epochs, default=0)))
        waiting = deque(networks)
        answers: queue.SimpleQueue[_JobResult] = queue.SimpleQueue()
        for worker in self._workers:
            threading.Thread(
                target=_keep_busy, args=(worker, waiting, epochs, answers), daemon=True
            ).start()
        for _ in networks:
            if self._workers:
                yield self._answered(answers, epochs)
            else:
                network = waiting.popleft()
                self._trainer.train_one(network, epochs)
                yield network

    def close(self) -> None:
        """End the workers and remove what was written for them."""
        for worker in self._workers:
            worker.close()
        self._workers = []
        shutil.rmtree(self._folder / _SAMPLES, ignore_errors=True)

    def _answered(
        self, answers: queue.SimpleQueue[_JobResult], epochs: tuple[int, ...]
    ) -> FoldModel:
        """The next network whose files are on disk."""
        answer = _wait_for(answers)
        if answer.error is not None:
            raise answer.error
        if answer.lost_by is not None:
            self._workers.remove(answer.lost_by)
            self._starts_more = False
            self._progress.note(
                f"a process that trained a network has ended ({answer.lost_by.exit_reason()}); the "
                "network is trained in this one (crossval.workers=1 trains all here)"
            )
            self._trainer.train_one(answer.network, epochs)
        return answer.network

    def _n_workers(self, n_networks: int, n_epochs: int) -> int:
        """0 where one process does it all."""
        config = self._trainer.config
        wish = config.crossval.workers
        n_batches = math.ceil(len(self._trainer.division.items) / config.train.batch_size)
        if resolve_device(config.device) != "cpu":
            return 0
        if not wish and n_networks * n_epochs * n_batches < _WORTH_STEPS:
            return 0
        n_workers = min(count_cores(wish), n_networks)
        free_bytes = available_memory_bytes()
        if not wish and free_bytes is not None:
            n_workers = min(n_workers, free_bytes // _WORKER_BYTES)
        return n_workers if n_workers > 1 else 0

    def _start(self, n_workers: int) -> None:
        n_more = n_workers - len(self._workers)
        if n_more <= 0 or not self._starts_more:
            return
        trainer, division = self._trainer, self._trainer.division
        samples = self._folder / _SAMPLES
        if not self._workers:
            try:
                write_samples(samples, [item.sample for item in division.items])
            except OSError as error:
                shutil.rmtree(samples, ignore_errors=True)
                self._starts_more = False
                self._progress.note(
                    f"networks are trained one after the other: {samples} cannot be written "
                    f"({error.strerror or error})"
                )
                return
        setup = WorkerSetup(
            trainer.card, trainer.config, [item.row for item in division.items], division.fold_of,
            division.gap_s, samples.absolute(),
        )  # fmt: skip
        self._workers += [_Worker(setup, self._module) for _ in range(n_more)]


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, setup: WorkerSetup, module: str) -> None:
        self._setup: WorkerSetup | None = setup
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # -P: a folder named pipeline where the user happens to stand must not shadow ours.
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one_thread,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def train(self, network: FoldModel, epochs: tuple[int, ...]) -> FoldModelTrained:
        """Wait until it is trained. Raises EOFError and OSError where the process ends."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        if self._setup is not None:
            write_message(self._popen.stdin, self._setup)
            self._setup = None
        write_message(self._popen.stdin, FoldModelJob(network, epochs))
        answer = read_message(self._popen.stdout)
        assert isinstance(answer, FoldModelTrained)
        return answer

    def exit_reason(self) -> str:
        """How a process that is about to end has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_LAST_WAIT_S)
        self.close()
        code = self._popen.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was to be written has no reader any more
                    pipe.close()


@dataclass(frozen=True)
class _JobResult:
    """A network that is trained; or why not: an error to raise, or the worker that ended."""

    network: FoldModel
    error: Exception | None = None
    lost_by: _Worker | None = None


def _keep_busy(
    worker: _Worker,
    waiting: deque[FoldModel],
    epochs: tuple[int, ...],
    answers: queue.SimpleQueue[_JobResult],
) -> None:
    """Have a worker train what is waiting, until nothing is or the worker ends."""
    while True:
        try:
            network = waiting.popleft()
        except IndexError:
            return
        try:
            answers.put(_JobResult(network, error=worker.train(network, epochs).error))
        except (EOFError, OSError):
            answers.put(_JobResult(network, lost_by=worker))
            return
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            answers.put(_JobResult(network, error=error))
            return


def _wait_for(answers: queue.SimpleQueue[_JobResult]) -> _JobResult:
    while True:  # a wait without an end is one that Ctrl-C does not end on Windows
        with suppress(queue.Empty):
            return answers.get(timeout=0.5)
