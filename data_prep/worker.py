"""A decoding process: jobs come in on standard input, messages go out on standard output.

A process of its own, so that a decoder's crash or leak costs one file, and so that it never
imports torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import IO

from data_prep.probe import probe
from data_prep.protocol import DecodeJob, Failure, Message, ProbeJob, read_message, write_message
from data_prep.status import MediaError, Status


def serve(jobs: IO[bytes], out: IO[bytes]) -> None:
    """Do jobs until standard input closes or nobody reads any more."""
    while True:
        try:
            job = read_message(jobs)
        except EOFError:
            return
        try:
            for message in _messages(job):
                write_message(out, message)
        except BrokenPipeError:
            return


def _messages(job: object) -> Iterator[Message]:
    try:
        if isinstance(job, ProbeJob):
            yield probe(job.path)
            return
        assert isinstance(job, DecodeJob)
        from data_prep.decode import decode_clip  # decord loads here, in the worker, only

        yield (yield from decode_clip(job.source, job.settings))
    except MediaError as error:
        yield Failure(error.status, str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        yield Failure(Status.UNREADABLE, error.strerror or str(error))
    except MemoryError:
        yield Failure(Status.REFUSED, "it needs more memory than there is")


def main() -> None:
    # Decoders write to the process's standard output and error as they please: the channel is
    # moved away from file descriptor 1, and what they print ends on standard error.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, channel)


if __name__ == "__main__":
    main()
