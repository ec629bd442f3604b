"""Parallel training of the networks of a crossval in worker processes, and their messages."""

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
from pipeline.crossval.fold_models import Trainer
from pipeline.crossval.fold_outputs import FoldModel
from pipeline.features.backend import resolve_device
from pipeline.features.samples import LabelledSample, map_samples, write_samples
from pipeline.reporter import ProgressReporter


@dataclass(frozen=True)
class WorkerSetup:
    """What all networks share; the first message to a worker."""

    card: ModelCard
    config: Config
    rows: list[ManifestRow]
    fold_of: dict[str, str]
    gap_s: float
    samples: Path  # file with the samples of `rows`; see `map_samples`

    def trainer(self) -> Trainer:
        """The parent's trainer, with memory-mapped samples."""
        samples = map_samples(self.samples)  # shared by all workers
        items = [LabelledSample(*pair) for pair in zip(self.rows, samples, strict=True)]
        assignment = FoldAssignment(items, self.fold_of, self.gap_s)
        return Trainer(self.card, build_front_end(self.card), assignment, self.config)


@dataclass(frozen=True)
class FoldModelJob:
    """A network to train until the last of these epochs."""

    network: FoldModel
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class FoldModelTrained:
    """The result of a job; error: to be raised by the parent."""

    error: Exception | None = None

    @classmethod
    def failed(cls, error: Exception) -> FoldModelTrained:
        """With the error itself, or its text if it cannot be sent."""
        try:
            copy.deepcopy(error)  # reconstructs it as unpickling does
        except Exception:  # noqa: BLE001 - constructors of errors can raise anything
            return cls(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(error)


_SAMPLES = "samples"
_WORKER = "pipeline.crossval.worker"
_WORTH_STEPS = 1500
"""Below this number of optimiser steps in all, starting workers takes as long as training."""
_WORKER_BYTES = 1_000_000_000
"""Memory of a worker without the shared samples: 0.5 to 0.9 GB were measured."""
_LAST_WAIT_S = 10.0  # for the exit code of a worker whose pipe is closed


class WorkerPool:
    """Trains networks on several CPU cores, one thread each; on a GPU one after the other.

    Workers start with the first networks that are worth it and stay until `close`. The result does
    not depend on where a network is trained.
    """

    def __init__(
        self, trainer: Trainer, folder: Path, progress: ProgressReporter, module: str = _WORKER
    ) -> None:
        """folder: of the networks; the samples for the workers are kept there until `close`."""
        self._trainer, self._folder, self._progress = trainer, folder, progress
        self._module = module
        self._workers: list[_Worker] = []
        self._starts_more = True

    def train(self, networks: Sequence[FoldModel], epochs: tuple[int, ...]) -> Iterator[FoldModel]:
        """Train these networks; yields each when its files are written. Raises UserError as `fit`.

        The network of a worker that died is trained in this process, and so are all others if no
        worker is left.
        """
        self._start(self._n_workers(len(networks), max(epochs, default=0)))
        waiting = deque(networks)
        results: queue.SimpleQueue[_JobResult] = queue.SimpleQueue()
        for worker in self._workers:
            # a thread for each worker, which mostly waits for it
            threading.Thread(
                target=_keep_busy, args=(worker, waiting, epochs, results), daemon=True
            ).start()
        for _ in networks:
            if self._workers:
                yield self._next_finished(results, epochs)
            else:
                network = waiting.popleft()
                self._trainer.train_one(network, epochs)
                yield network

    def close(self) -> None:
        """Stop the workers and remove their samples."""
        for worker in self._workers:
            worker.close()
        self._workers = []
        shutil.rmtree(self._folder / _SAMPLES, ignore_errors=True)

    def _next_finished(
        self, results: queue.SimpleQueue[_JobResult], epochs: tuple[int, ...]
    ) -> FoldModel:
        """The next network that is finished, trained here if its worker died."""
        result = _wait_for(results)
        if result.error is not None:
            raise result.error
        if result.lost_by is not None:
            self._workers.remove(result.lost_by)
            self._starts_more = False  # the next may run out of memory too
            self._progress.note(
                f"a process that trained a network has ended ({result.lost_by.exit_reason()}); the "
                "network is trained in this one (crossval.workers=1 trains all here)"
            )
            self._trainer.train_one(result.network, epochs)
        return result.network

    def _n_workers(self, n_networks: int, n_epochs: int) -> int:
        """Number of workers; 0 to train in this process."""
        config = self._trainer.config
        requested = config.crossval.workers
        n_batches = math.ceil(len(self._trainer.assignment.items) / config.train.batch_size)
        if resolve_device(config.device) != "cpu":
            return 0  # processes would compete for the GPU
        if not requested and n_networks * n_epochs * n_batches < _WORTH_STEPS:
            return 0
        n_workers = min(count_cores(requested), n_networks)
        # a number that the user gave is not reduced
        free_bytes = available_memory_bytes()
        if not requested and free_bytes is not None:
            n_workers = min(n_workers, free_bytes // _WORKER_BYTES)
        return n_workers if n_workers > 1 else 0  # a single worker gains nothing

    def _start(self, n_workers: int) -> None:
        n_more = n_workers - len(self._workers)
        if n_more <= 0 or not self._starts_more:
            return
        trainer, assignment = self._trainer, self._trainer.assignment
        samples = self._folder / _SAMPLES
        if not self._workers:
            try:
                write_samples(samples, [item.sample for item in assignment.items])
            except OSError as error:  # a full disk, for example: training works without workers
                shutil.rmtree(samples, ignore_errors=True)
                self._starts_more = False
                self._progress.note(
                    f"networks are trained one after the other: {samples} cannot be written "
                    f"({error.strerror or error})"
                )
                return
        setup = WorkerSetup(
            trainer.card, trainer.config, [item.row for item in assignment.items],
            assignment.fold_of, assignment.gap_s, samples.absolute(),
        )  # fmt: skip
        self._workers += [_Worker(setup, self._module) for _ in range(n_more)]


class _Worker:
    """A worker process."""

    def __init__(self, setup: WorkerSetup, module: str) -> None:
        self._setup: WorkerSetup | None = setup
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # -P: a folder named pipeline in the working directory must not shadow ours
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one_thread,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def train(self, network: FoldModel, epochs: tuple[int, ...]) -> FoldModelTrained:
        """Train a network; blocks. Raises EOFError and OSError if the process ends."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        if self._setup is not None:  # not in __init__: it is large, and writing may block
            write_message(self._popen.stdin, self._setup)
            self._setup = None
        write_message(self._popen.stdin, FoldModelJob(network, epochs))
        result = read_message(self._popen.stdout)
        assert isinstance(result, FoldModelTrained)
        return result

    def exit_reason(self) -> str:
        """Exit code or signal of a process that ended, or is about to."""
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
                with suppress(OSError):  # buffered output has no reader any more
                    pipe.close()


@dataclass(frozen=True)
class _JobResult:
    """A network, and if it is not trained, the error to raise or the worker that died."""

    network: FoldModel
    error: Exception | None = None
    lost_by: _Worker | None = None


def _keep_busy(
    worker: _Worker,
    waiting: deque[FoldModel],
    epochs: tuple[int, ...],
    results: queue.SimpleQueue[_JobResult],
) -> None:
    """Let a worker train waiting networks until none is left or the worker dies."""
    while True:
        try:
            network = waiting.popleft()
        except IndexError:  # another thread may take the last one, so not `while waiting`
            return
        try:
            results.put(_JobResult(network, error=worker.train(network, epochs).error))
        except (EOFError, OSError):
            results.put(_JobResult(network, lost_by=worker))
            return
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            results.put(_JobResult(network, error=error))
            return


def _wait_for(results: queue.SimpleQueue[_JobResult]) -> _JobResult:
    while True:  # on Windows, Ctrl-C does not interrupt a wait without a timeout
        with suppress(queue.Empty):
            return results.get(timeout=0.5)
