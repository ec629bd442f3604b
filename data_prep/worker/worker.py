"""A decoding process: jobs come in on standard input, messages go out on standard output.

A process of its own, so that a decoder's crash or leak costs one file, and so that it never
imports torch.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import IO

from data_prep import heartbeat
from data_prep.clip import ClipChunk, DecodeSummary
from data_prep.clips import clip_decoder
from data_prep.fingerprints.motion_frames import read_motion_frames
from data_prep.settings import LimitSettings
from data_prep.status import MediaError, Status
from data_prep.video.shared_frames import SharedSlots
from data_prep.worker.protocol import (
    DecodeJob,
    Failure,
    Heartbeat,
    Message,
    MotionJob,
    ProbeJob,
    SharedChunk,
    read_message,
    write_message,
)

_HEARTBEAT_EVERY_S = 1.0
_MB = 1024 * 1024
_STDERR_KEPT_BYTES = 4 * _MB


def serve(jobs: IO[bytes], out: IO[bytes], slots: SharedSlots | None) -> None:
    """Do jobs until standard input closes or nobody reads any more.

    slots: shared memory for frames; without it they go through the pipe.
    """
    while True:
        try:
            job = read_message(jobs)
        except EOFError:
            return
        _truncate_stderr()
        _send_heartbeats(out)
        try:
            for message in _messages(job, slots):
                write_message(out, message)
        except BrokenPipeError:
            return


def _messages(job: object, slots: SharedSlots | None) -> Iterator[Message | SharedChunk]:
    assert isinstance(job, DecodeJob | ProbeJob | MotionJob)
    limits = job.limits
    _limit_memory(limits)
    try:
        if isinstance(job, ProbeJob):
            yield clip_decoder.survey_file(job.path, limits, job.raw_frame_rate_hz, job.kept_hz)
        elif isinstance(job, MotionJob):
            yield read_motion_frames(job.path, job.start_s, job.end_s, job.rotation_deg)
        else:
            yield (yield from _decoded(job, slots))
    except MediaError as error:
        yield Failure(error.status, str(error), getattr(error, "limit", None))
    except BrokenPipeError:
        raise
    except MemoryError:
        yield Failure(
            Status.REFUSED,
            "decoding it needs more memory than a decoding process may have "
            f"(limits.worker_memory_mb={limits.worker_memory_mb})",
            ("worker_memory_mb", limits.worker_memory_mb),
        )
    except OSError as error:
        yield Failure(Status.UNREADABLE, f"cannot be read: {error.strerror or error}")


def _decoded(
    job: DecodeJob, slots: SharedSlots | None
) -> Generator[ClipChunk | SharedChunk, None, DecodeSummary]:
    """The clip's chunks, their frames left in shared memory where there is any."""
    chunks = clip_decoder.decode_clip(job.source, job.settings, slots)
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            report: DecodeSummary = end.value
            return report
        if slots is None:
            yield chunk
        else:
            yield SharedChunk(
                slots.release(), chunk.n_steps, chunk.frames.shape[2], chunk.frame_times_s,
                chunk.waveform, chunk.video_mask, chunk.audio_mask, chunk.jpegs, chunk.index,
                chunk.waveform_scale,
            )  # fmt: skip


def _send_heartbeats(out: IO[bytes]) -> None:
    """Tell the parent about once a second that packets or frames go by."""
    last_s = time.monotonic()

    def pulse() -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= _HEARTBEAT_EVERY_S:
            last_s = now_s
            _truncate_stderr(_STDERR_KEPT_BYTES)
            write_message(out, Heartbeat(heartbeat.expected_duration_s()))

    heartbeat.set_listener(pulse)


def _limit_memory(limits: LimitSettings) -> None:
    """Limit the memory this process may ask for (effective on Linux)."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limits.worker_memory_mb * _MB if limits.worker_memory_mb else hard
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _truncate_stderr(at_least_bytes: int = 0) -> None:
    """Empty the file that collects standard error, so that it never grows without bound."""
    with suppress(OSError):  # it is a terminal or a pipe when started by hand
        if os.fstat(2).st_size > at_least_bytes:
            os.ftruncate(2, 0)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel end this process when its parent is killed, even in an endless loop."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent_pid:
            sys.exit(0)  # it was killed before that took effect


def main() -> None:
    """Serve the process that started this one: its id, then the descriptors of shared memory."""
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Decoders write to the process's standard output and error as they please: the channel is
    # moved away from file descriptor 1, and what they print ends on standard error.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    slots = SharedSlots(*map(int, sys.argv[2:4])) if len(sys.argv) > 3 else None
    serve(sys.stdin.buffer, channel, slots)


if __name__ == "__main__":
    main()
