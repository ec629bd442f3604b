"""A process that trains networks of a crossval: they come in on standard input, and each is
answered on standard output when its files are on disk."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_prep.dataset.manifest import ManifestRow
from data_prep.process.protocol import read_message, write_message
from pipeline.checkpoints.card import ModelCard
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.config import Config
from pipeline.crossvalidation.division import Division
from pipeline.crossvalidation.networks import Network, Trainer
from pipeline.encoding.mapped_samples import map_samples
from pipeline.errors import UserError
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
        division = Division(items, self.fold_of, self.gap_s)
        return Trainer(self.card, build_front_end(self.card), division, self.config)


@dataclass(frozen=True)
class NetworkJob:
    """A network to train until the last of these epochs."""

    network: Network
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class NetworkTrained:
    """The answer to a job; refusal: the message of a UserError, which ended the training."""

    refusal: str | None = None


def serve(messages: queue.SimpleQueue[object], out: IO[bytes]) -> None:
    """Train one network after another until the process is ended from outside."""
    setup = messages.get()
    assert isinstance(setup, WorkerSetup)
    trainer = setup.trainer()
    while True:
        job = messages.get()
        assert isinstance(job, NetworkJob)
        try:
            trainer.train_one(job.network, job.epochs)
        except UserError as error:
            write_message(out, NetworkTrained(str(error)))
        else:
            write_message(out, NetworkTrained())


def _receive(stream: IO[bytes], messages: queue.SimpleQueue[object]) -> None:
    """Read until the parent is gone, which ends this process at once: the same command, given
    again, trains the same network into the same folder."""
    try:
        while True:
            messages.put(read_message(stream))
    except EOFError:
        os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    messages: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, messages), daemon=True).start()
    serve(messages, channel)


if __name__ == "__main__":
    main()
