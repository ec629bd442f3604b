"""A decoding process: jobs come in on standard input, chunks go out on standard output.

A process of its own, so that a decoder's crash or leak costs one file, and so that it never
imports torch. Messages are length-prefixed pickles between this process and its parent only.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from data_prep.clip import ClipChunk, ClipReport, ClipSource
from data_prep.status import MediaError, Status

if TYPE_CHECKING:
    from data_prep.decode import DecodeSettings

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


Message = ClipChunk | ClipReport | Failure
"""Chunks of one clip in order, then its report or its failure."""


def write_message(stream: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_message(stream: BinaryIO) -> object:
    """The next message. Raises EOFError when the other side is gone."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own child or parent process


def serve(jobs: BinaryIO, out: BinaryIO) -> None:
    """Decode jobs until standard input closes."""
    from data_prep.decode import decode_clip  # decoders load here, in the worker, only

    while True:
        try:
            job = read_message(jobs)
        except EOFError:
            return
        assert isinstance(job, DecodeJob)
        chunks = decode_clip(job.source, job.settings)
        try:
            while True:
                write_message(out, next(chunks))
        except StopIteration as end:
            write_message(out, end.value)
        except MediaError as error:
            write_message(out, Failure(error.status, str(error)))
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                return
            write_message(out, Failure(Status.UNREADABLE, error.strerror or str(error)))
        except MemoryError:
            write_message(out, Failure(Status.REFUSED, "it needs more memory than there is"))


def main() -> None:
    # Decoders write to the process's standard output and error as they please: the channel is
    # moved away from file descriptor 1, and what they print ends on standard error.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, channel)


if __name__ == "__main__":
    main()
