"""Networks of a crossval side by side: this process trains some of them, workers the others."""

from __future__ import annotations

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
from pathlib import Path

from data_prep.process.protocol import read_message, write_message
from pipeline.cores import count_cores
from pipeline.crossvalidation.messages import NetworkJob, NetworkTrained, WorkerSetup
from pipeline.crossvalidation.networks import Network, Trainer
from pipeline.encoding.backend import resolve_device
from pipeline.encoding.mapped_samples import write_samples
from pipeline.errors import UserError
from pipeline.reporting import Reporter

_SAMPLES = "samples"
_WORTH_STEPS = 1500
"""Fewer optimiser steps than these, of all networks, take about as long as a worker's start."""


class WorkerPool:
    """Trains networks on several cores, one thread each; on a GPU one after the other.

    Workers start with the first networks that are worth it and stay until `close`. What a network
    becomes does not depend on where it is trained.
    """

    def __init__(self, trainer: Trainer, folder: Path, report: Reporter) -> None:
        """folder: of the networks; the samples are written there meanwhile, for all workers."""
        self._trainer, self._folder, self._report = trainer, folder, report
        self._workers: list[_Worker] = []

    def train(self, networks: Sequence[Network], epochs: tuple[int, ...]) -> Iterator[Network]:
        """Train these; each is named when its files are on disk. Raises UserError as `fit` does."""
        if not self._workers:
            self._start(self._n_workers(len(networks), max(epochs)))
        waiting = deque(networks)
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        for worker in self._workers:
            threading.Thread(
                target=_keep_busy, args=(worker, waiting, epochs, answers), daemon=True
            ).start()
        n_left = len(networks)
        while n_left:
            own = _next(waiting)
            if own is not None:
                self._trainer.train_one(own, epochs)
                answers.put(own)
            for answer in _arrived(answers):
                if isinstance(answer, UserError):
                    raise answer
                if isinstance(answer, _Worker):
                    self._workers.remove(answer)
                    self._report.note(
                        f"a process that trained networks has ended ({answer.exit_code}); the "
                        "others go on with its work (crossval.workers=1 trains all in one process)"
                    )
                else:
                    n_left -= 1
                    yield answer

    def close(self) -> None:
        """End the workers and remove what was written for them."""
        for worker in self._workers:
            worker.close()
        shutil.rmtree(self._folder / _SAMPLES, ignore_errors=True)

    def _n_workers(self, n_networks: int, n_epochs: int) -> int:
        """Beside this process."""
        config = self._trainer.config
        wish = config.crossval.workers
        if resolve_device(config.device) != "cpu":
            return 0
        n_batches = math.ceil(len(self._trainer.division.items) / config.train.batch_size)
        if not wish and n_networks * n_epochs * n_batches < _WORTH_STEPS:
            return 0
        return max(0, min(count_cores(wish), n_networks) - 1)

    def _start(self, n_workers: int) -> None:
        if not n_workers:
            return
        trainer, division = self._trainer, self._trainer.division
        samples = self._folder / _SAMPLES
        try:
            write_samples(samples, [item.sample for item in division.items])
        except OSError as error:
            self._report.note(
                f"networks are trained one after the other: {samples} cannot be written "
                f"({error.strerror})"
            )
            return
        setup = WorkerSetup(
            trainer.card, trainer.config, [item.row for item in division.items], division.fold_of,
            division.gap_s, samples.absolute(),
        )  # fmt: skip
        self._workers = [_Worker(setup) for _ in range(n_workers)]


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup: WorkerSetup | None = setup
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # -P: a folder named pipeline where the user happens to stand must not shadow ours.
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.crossvalidation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one_thread,
        )

    @property
    def exit_code(self) -> str:
        code = self._popen.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def train(self, network: Network, epochs: tuple[int, ...]) -> NetworkTrained:
        """Wait until it is trained. Raises EOFError and BrokenPipeError where the process ends."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        if self._setup is not None:
            write_message(self._popen.stdin, self._setup)
            self._setup = None
        write_message(self._popen.stdin, NetworkJob(network, epochs))
        answer = read_message(self._popen.stdout)
        assert isinstance(answer, NetworkTrained)
        return answer

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was to be written has no reader any more
                    pipe.close()


_Answer = Network | UserError | _Worker
"""A network that is trained, why its training was refused, or a worker that is no more."""


def _keep_busy(
    worker: _Worker,
    waiting: deque[Network],
    epochs: tuple[int, ...],
    answers: queue.SimpleQueue[_Answer],
) -> None:
    """Have a worker train what is waiting; what it does not end waits again."""
    while (network := _next(waiting)) is not None:
        try:
            refusal = worker.train(network, epochs).refusal
        except (EOFError, BrokenPipeError):
            waiting.append(network)
            answers.put(worker)
            return
        answers.put(network if refusal is None else UserError(refusal))


def _next(waiting: deque[Network]) -> Network | None:
    with suppress(IndexError):  # another thread may have taken the last one
        return waiting.popleft()
    return None


def _arrived(answers: queue.SimpleQueue[_Answer]) -> Iterator[_Answer]:
    """All answers that are there; waits for one."""
    yield answers.get()
    with suppress(queue.Empty):
        while True:
            yield answers.get_nowait()
