"""Worker process of a crossval: jobs on standard input, their results on standard output."""

from __future__ import annotations

import os
import queue
import threading
import traceback
from typing import IO

from data_prep.worker.protocol import read_message, write_message
from pipeline.crossval.worker_pool import FoldModelJob, FoldModelTrained, WorkerSetup


def serve(messages: queue.SimpleQueue[object], out: IO[bytes]) -> None:
    """Train one network after another until the process is ended from outside."""
    setup = messages.get()
    assert isinstance(setup, WorkerSetup)
    trainer = setup.trainer()
    while True:
        job = messages.get()
        assert isinstance(job, FoldModelJob)
        try:
            trainer.train_one(job.network, job.epochs)
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            write_message(out, FoldModelTrained.failed(error))
        else:
            write_message(out, FoldModelTrained())


def _receive(stream: IO[bytes], messages: queue.SimpleQueue[object]) -> None:
    """Queue messages from the parent; end the process at once when the parent is gone."""
    try:
        while True:
            messages.put(read_message(stream))
    except EOFError:
        os._exit(0)  # a half-trained network is resumed by the next run
    except BaseException:  # noqa: BLE001 - no more messages can be read
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries would corrupt the messages
    messages: queue.SimpleQueue[object] = queue.SimpleQueue()
    # not sys.stdin: the reading thread would hold its lock when the process ends
    jobs = os.fdopen(os.dup(0), "rb")
    threading.Thread(target=_receive, args=(jobs, messages), daemon=True).start()
    serve(messages, channel)


if __name__ == "__main__":
    main()
