"""Decoding worker: reads jobs from standard input, writes messages to standard output.

It is a separate process so that a decoder crash or memory leak costs one file only, and so that it
never imports torch.
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
from data_prep.clips import clip_decoder, file_survey
from data_prep.fingerprints.motion_frames import read_motion_frames
from data_prep.media.source import close_source
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
    """Process jobs until standard input is closed or `out` has no reader.

    slots: shared memory for frames; without it, frames are sent through the pipe.
    """
    while True:
        try:
            job = read_message(jobs)
        except EOFError:
            return
        _truncate_stderr()  # after a crash the parent reads the last line: it must be of this job
        _send_heartbeats(out)
        try:
            for message in _messages(job, slots):
                write_message(out, message)
        except BrokenPipeError:
            return
        close_source()  # while it waits for the next job, the file can be moved or deleted


def _messages(job: object, slots: SharedSlots | None) -> Iterator[Message | SharedChunk]:
    assert isinstance(job, DecodeJob | ProbeJob | MotionJob)
    limits = job.limits
    _limit_memory(limits)  # per job, as the limit may differ between jobs
    try:
        if isinstance(job, ProbeJob):
            yield file_survey.survey_file(job.path, limits, job.raw_frame_rate_hz, job.nyquist_hz)
        elif isinstance(job, MotionJob):
            yield read_motion_frames(job.path, job.start_s, job.end_s, job.rotation_deg)
        else:
            yield (yield from _decoded(job, slots))
    except MediaError as error:
        yield Failure(error.status, str(error), getattr(error, "limit", None))
    except BrokenPipeError:  # an OSError, but of the parent, not of the file
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
    """Yield the clip's chunks, with frames in shared memory if available; return the summary."""
    chunks = clip_decoder.decode_clip(job.source, job.settings, slots)
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            summary: DecodeSummary = end.value
            return summary
        if slots is None:
            yield chunk
        else:
            yield SharedChunk(
                slots.release(), chunk.n_steps, chunk.frames.shape[2], chunk.frame_times_s,
                chunk.waveform, chunk.video_mask, chunk.audio_mask, chunk.jpegs, chunk.index,
                chunk.waveform_scale,
            )  # fmt: skip


def _send_heartbeats(out: IO[bytes]) -> None:
    """Have a Heartbeat sent about once a second while packets or frames are processed."""
    last_s = time.monotonic()

    def on_beat() -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= _HEARTBEAT_EVERY_S:
            last_s = now_s
            _truncate_stderr(_STDERR_KEPT_BYTES)  # it must not grow without bound within a job
            write_message(out, Heartbeat(heartbeat.expected_duration_s()))

    heartbeat.set_listener(on_beat)


def _limit_memory(limits: LimitSettings) -> None:
    """Limit the memory this process may allocate (Linux only)."""
    if not sys.platform.startswith("linux"):
        return
    import resource  # does not exist on Windows

    # RLIMIT_DATA counts private writable memory only; RLIMIT_AS would count mapped files too
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limits.worker_memory_mb * _MB if limits.worker_memory_mb else hard
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _truncate_stderr(at_least_bytes: int = 0) -> None:
    """Empty the file that collects standard error once it is longer than `at_least_bytes`."""
    with suppress(OSError):  # stderr is a terminal or a pipe if started by hand
        if os.fstat(2).st_size > at_least_bytes:
            os.ftruncate(2, 0)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, even in a loop (Linux only)."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1  # from <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent_pid:
            sys.exit(0)  # the parent died before prctl took effect


def main() -> None:
    """Run the worker. Arguments: parent pid, then optionally the descriptors of `SharedSlots`."""
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Decoder libraries may print to standard output, so messages use a duplicate of descriptor 1
    # and the descriptor itself is redirected to standard error.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    slots = SharedSlots(*map(int, sys.argv[2:4])) if len(sys.argv) > 3 else None
    serve(sys.stdin.buffer, channel, slots)


if __name__ == "__main__":
    main()
