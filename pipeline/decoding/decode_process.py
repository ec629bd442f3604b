"""One decoding process, seen from its parent: started, given jobs, watched, replaced.

A process that dies, falls silent or takes too long costs its own file a row.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from data_prep.chatter import last_line
from data_prep.clip import ClipChunk
from data_prep.process.protocol import (
    DecodeJob,
    Failure,
    Job,
    Message,
    SignOfLife,
    SlotChunk,
    read_message,
    write_message,
)
from data_prep.settings import LimitSettings
from data_prep.status import Status
from pipeline.cores import let_go_last
from pipeline.decoding.frame_arena import FrameArena

_JOBS_PER_PROCESS = 200  # then a fresh one, so that no decoder's leak adds up
_LAST_WORDS_BYTES = 8192


class _Allowance:
    """The time one job may still take; waiting for the reader is not counted."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._planned_s = self._spent_s = 0.0

    @property
    def left_s(self) -> float:
        return min(self._limits.stall_timeout_s, self._total_s - self._spent_s)

    @property
    def _total_s(self) -> float:
        return self._limits.timeout_s + self._limits.timeout_per_s * self._planned_s

    def spend(self, waited_s: float) -> None:
        self._spent_s += waited_s

    def plan(self, planned_s: float) -> None:
        """The recording's length, as far as known by now."""
        self._planned_s = max(self._planned_s, min(planned_s, self._limits.max_declared_s))

    def reason(self) -> str:
        limits = self._limits
        if self._spent_s + limits.stall_timeout_s < self._total_s:
            return (
                f"its decoder stood still for {limits.stall_timeout_s:g} s "
                f"(limits.stall_timeout_s={limits.stall_timeout_s:g})"
            )
        return (
            f"it took more than {self._total_s:.0f} s (limits.timeout_s={limits.timeout_s:g} and "
            f"limits.timeout_per_s={limits.timeout_per_s:g} for each of {self._planned_s:.0f} s)"
        )


class DecodeProcess:
    """One decoding process, started when first needed and again after it died."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._popen: subprocess.Popen[bytes] | None = None
        self._words = _words_file()
        self._jobs_done = 0
        self._killed = False
        self._job: Job
        self._clock = threading.Lock()
        self._deadline_s: float | None = None
        self._timed_out = False
        self._arena: FrameArena | None = None

    def do(self, job: Job) -> Iterator[Message]:
        """The job's messages; a crash, a silence or too much time gives a Failure."""
        if self._jobs_done >= _JOBS_PER_PROCESS or not self._has_room_for(job):
            self._stop()
        self._job = job
        popen = self._popen or self._start()
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._jobs_done += 1
        self._timed_out = False
        allowance = _Allowance(job.limits)
        try:
            write_message(popen.stdin, job)
            while True:
                if self._arena is not None:
                    self._arena.grant(lambda: self._killed)
                began_s = time.monotonic()
                self._expect_until(began_s + allowance.left_s)
                message = read_message(popen.stdout)
                self._expect_until(None)
                allowance.spend(time.monotonic() - began_s)
                if isinstance(message, SignOfLife):
                    allowance.plan(message.planned_s)
                    continue
                if isinstance(message, SlotChunk):
                    assert self._arena is not None
                    message = self._arena.lend(message)
                yield message  # type: ignore[misc]
                if not isinstance(message, ClipChunk):
                    break
            if self._timed_out:  # its answer came in the very moment it was killed
                popen.wait()
                self._popen = None
        except (EOFError, BrokenPipeError):
            self._expect_until(None)
            code = popen.wait()
            self._popen = None
            if self._timed_out:
                yield Failure(Status.TIMEOUT, allowance.reason())
            else:
                yield Failure(Status.CRASHED, self._last_words(code))

    def kill(self) -> None:
        self._killed = True
        if self._popen is not None:
            self._popen.kill()

    def close(self) -> None:
        """Kill the process for good and close what was shared with it; from its own thread only."""
        self.kill()
        if self._popen is not None:
            self._popen.wait()
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was to be written has no reader any more
                        pipe.close()
        self._close_arena()
        self._words.close()

    def _close_arena(self) -> None:
        arena, self._arena = self._arena, None  # its descriptors' numbers are others' from now on
        if arena is not None:
            arena.close()

    def renew(self) -> None:
        """Kill the process; the next job gets a fresh one."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def kill_if_late(self) -> None:
        with self._clock:
            late = self._deadline_s is not None and time.monotonic() > self._deadline_s
            if late and self._popen is not None:
                self._timed_out = True
                self._popen.kill()

    def _expect_until(self, deadline_s: float | None) -> None:
        with self._clock:
            self._deadline_s = deadline_s

    def _has_room_for(self, job: Job) -> bool:
        return _side_px(job) in (0, self._arena.side_px if self._arena is not None else 0)

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a folder named data_prep where the user happens to stand must not shadow ours.
        self._close_arena()
        side_px = _side_px(self._job)
        self._arena = arena = FrameArena(side_px) if side_px else None
        shared = (arena.file, arena.grants) if arena is not None else ()
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", self._module, str(os.getpid()), *map(str, shared)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            pass_fds=shared,
            env=os.environ | one_thread,
        )
        let_go_last(self._popen.pid)
        self._jobs_done = 0
        if self._killed:
            self._popen.kill()
        return self._popen

    def _stop(self) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def _last_words(self, code: int) -> str:
        name = f"exit code {code}"
        if code < 0:
            known = {int(number): number.name for number in signal.Signals}
            name = known.get(-code, f"signal {-code}")
        start = max(0, os.fstat(self._words.fileno()).st_size - _LAST_WORDS_BYTES)
        last = last_line(os.pread(self._words.fileno(), _LAST_WORDS_BYTES, start))
        return f"the decoding process died ({name})" + (f": {last}" if last else "")


def _side_px(job: Job) -> int:
    """Side of the frames that a job gives; 0 where it gives none."""
    if not isinstance(job, DecodeJob) or not job.settings.want_picture:
        return 0
    return job.settings.clip.frame_size_px or 0


def _words_file() -> IO[bytes]:
    """A nameless file for a process's standard error, appended to and read back.

    A file, not a pipe: the process itself looks there for what its decoders complained about.
    """
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("decoder-stderr"), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as its process
    with suppress(ImportError):
        import fcntl

        fcntl.fcntl(file.fileno(), fcntl.F_SETFL, os.O_APPEND)
    return file
