"""A decoding process: jobs come in on standard input, chunks go out on standard output.

A process of its own, so that a decoder's crash or leak costs one file, and so that it never
imports torch. Messages are length-prefixed pickles between this process and its parent only.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from data_prep.clip import ClipChunk, ClipReport, ClipSource
from data_prep.probe import MediaInfo, probe
from data_prep.settings import DecodeSettings
from data_prep.status import MediaError, Status

_HEADER = struct.Struct("<Q")


@dataclass(frozen=True)
class Failure:
    """A clip that gives nothing: its status and the reason."""

    status: Status
    reason: str


@dataclass(frozen=True)
class DecodeJob:
    """One clip to decode."""

    source: ClipSource
    settings: DecodeSettings


@dataclass(frozen=True)
class ProbeJob:
    """One file to look into."""

    path: str


Job = DecodeJob | ProbeJob
Message = ClipChunk | ClipReport | MediaInfo | Failure
"""A decode job gives chunks in order and then its report; a probe its findings; or a failure."""


def write_message(stream: IO[bytes], message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> object:
    """The next message. Raises EOFError when the other side is gone."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own child or parent process


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
