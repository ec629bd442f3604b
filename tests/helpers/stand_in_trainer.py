"""A worker of a crossval that trains nothing: a folder's name says what becomes of its network.

Started by tests as `python -m tests.helpers.stand_in_trainer`, in the place of the real worker.
"""

from __future__ import annotations

import os
import signal
import sys

from data_prep.status import DataSetError
from pipeline.crossval import worker, worker_pool
from pipeline.crossval.fold_outputs import FoldModel
from pipeline.errors import UserError


class StandInTrainer:
    def train_one(self, network: FoldModel, epochs: tuple[int, ...]) -> None:
        name = network.folder.name
        network.folder.mkdir(parents=True, exist_ok=True)
        print("what a library prints")
        if "dies" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "refuses" in name:
            raise UserError("the loss became infinite")
        if "lacks" in name:
            raise DataSetError("a part is damaged")
        if "fills" in name:
            raise OSError(28, "No space left on device")
        if "hides" in name:
            raise _CannotBeSentError(1, 2)
        (network.folder / "trained").write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}")


class _CannotBeSentError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


if __name__ == "__main__":
    worker_pool.WorkerSetup.trainer = lambda _: StandInTrainer()
    sys.exit(worker.main())
