"""Decoding processes: jobs in, messages out in job order, whatever happens to a process.

One thread per process talks to it. What is decoded ahead of the reader is bounded: a process that
is ahead waits. A process that dies, falls silent or takes too long costs its own file a row and is
replaced.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, ClassVar

from data_prep.chatter import last_line
from data_prep.clip import ClipChunk
from data_prep.protocol import (
    Failure,
    Job,
    Message,
    ProbeJob,
    SignOfLife,
    read_message,
    write_message,
)
from data_prep.settings import LimitSettings
from data_prep.status import Status

_CHUNKS_AHEAD = 1  # per clip, of at most 64 frames each
_CLIPS_AHEAD_PER_WORKER = 4
_JOBS_PER_PROCESS = 200  # then a fresh one, so that no decoder's leak adds up
_LOOK_EVERY_S = 0.2
_LAST_WORDS_BYTES = 8192


class DecodePool:
    """`workers` decoding processes; use as a context manager."""

    worker_module: ClassVar[str] = "data_prep.worker"
    """What a decoding process runs; tests put a stand-in here."""

    def __init__(self, workers: int) -> None:
        self.workers = workers if workers > 0 else (os.cpu_count() or 1)
        self._processes: list[_Process] = []
        self._ahead = threading.Semaphore(self.workers * _CLIPS_AHEAD_PER_WORKER)
        self._closed = threading.Event()

    def __enter__(self) -> DecodePool:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        for process in self._processes:
            process.kill()
        self._ahead.release(self.workers)  # wakes threads that wait to go on

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Message]]:
        """Every job's messages, jobs in order; the last of each is no ClipChunk."""
        source = iter(jobs)
        lock = threading.Lock()
        started: queue.Queue[tuple[Job, queue.Queue[Message]] | None] = queue.Queue()

        def serve() -> None:
            process = _Process(self.worker_module)
            self._processes.append(process)
            try:
                while not self._closed.is_set():
                    self._ahead.acquire()
                    with lock:
                        job = next(source, None)
                        if job is None or self._closed.is_set():
                            return
                        messages: queue.Queue[Message] = queue.Queue(_CHUNKS_AHEAD)
                        started.put((job, messages))
                    try:
                        for message in process.do(job):
                            self._put(messages, message)
                    except Exception as error:  # noqa: BLE001 - the reader must get an end
                        # no process could be started, its pipe broke, its answer is none
                        process.renew()
                        self._put(messages, Failure(Status.CRASHED, f"no decoder: {error}"))
            finally:
                process.kill()
                started.put(None)

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            item = started.get()
            if item is None:
                running -= 1
                self._ahead.release()  # wakes a thread that waits although there are no more jobs
                continue
            job, messages = item
            while True:
                message = messages.get()
                yield job, message
                if not isinstance(message, ClipChunk):
                    break
            self._ahead.release()

    def _put(self, messages: queue.Queue[Message], message: Message) -> None:
        while not self._closed.is_set():
            try:
                messages.put(message, timeout=0.5)
                return
            except queue.Full:
                continue  # the reader is busy encoding; look whether it has gone

    def _watch(self) -> None:
        """Kill processes that are past their time."""
        while not self._closed.wait(_LOOK_EVERY_S):
            for process in list(self._processes):
                process.kill_if_late()


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


class _Process:
    """One decoding process, started when first needed and again after it died."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._popen: subprocess.Popen[bytes] | None = None
        self._words = _words_file()
        self._jobs_done = 0
        self._killed = False
        self._clock = threading.Lock()
        self._deadline_s: float | None = None
        self._timed_out = False

    def do(self, job: Job) -> Iterator[Message]:
        """The job's messages; a crash, a silence or too much time gives a Failure."""
        if self._jobs_done >= _JOBS_PER_PROCESS:
            self._stop()
        popen = self._popen or self._start()
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._jobs_done += 1
        self._timed_out = False
        allowance = _Allowance(job.limits if isinstance(job, ProbeJob) else job.settings.limits)
        try:
            write_message(popen.stdin, job)
            while True:
                began_s = time.monotonic()
                self._expect_until(began_s + allowance.left_s)
                message = read_message(popen.stdout)
                self._expect_until(None)
                allowance.spend(time.monotonic() - began_s)
                if isinstance(message, SignOfLife):
                    allowance.plan(message.planned_s)
                    continue
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

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a folder named data_prep where the user happens to stand must not shadow ours.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", self._module, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=os.environ | one_thread,
        )
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
