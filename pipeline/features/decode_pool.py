"""One decoding process, seen from its parent: started, given jobs, watched, replaced.

A process that dies, falls silent or takes too long costs its own file a row.

Decoding processes: jobs in, messages out, whatever happens to a process.

One thread per process talks to it. What is decoded ahead of the reader is bounded: in clips, and in
bytes by the shared memory that frames come in. A process that is ahead waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, ClassVar

from data_prep.clip import ClipChunk
from data_prep.settings import LimitSettings
from data_prep.status import Status
from data_prep.stderr_capture import last_line
from data_prep.worker.protocol import (
    DecodeJob,
    Failure,
    Heartbeat,
    Job,
    Message,
    SharedChunk,
    read_message,
    write_message,
)
from pipeline.cores import count_cores, let_go_last
from pipeline.features.frame_buffers import BorrowedChunk, SharedFramePool

_JOBS_PER_PROCESS = 200  # then a fresh one, so that no decoder's leak adds up
_STDERR_TAIL_BYTES = 8192


class _TimeLimit:
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
        self._words = _stderr_file()
        self._jobs_done = 0
        self._killed = False
        self._job: Job
        self._clock = threading.Lock()
        self._deadline_s: float | None = None
        self._timed_out = False
        self._arena: SharedFramePool | None = None

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
        allowance = _TimeLimit(job.limits)
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
                if isinstance(message, Heartbeat):
                    allowance.plan(message.expected_duration_s)
                    continue
                if isinstance(message, SharedChunk):
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
                yield Failure(Status.CRASHED, self._stderr_tail(code))

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
        self._arena = arena = SharedFramePool(side_px) if side_px else None
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

    def _stderr_tail(self, code: int) -> str:
        name = f"exit code {code}"
        if code < 0:
            known = {int(number): number.name for number in signal.Signals}
            name = known.get(-code, f"signal {-code}")
        start = max(0, os.fstat(self._words.fileno()).st_size - _STDERR_TAIL_BYTES)
        last = last_line(os.pread(self._words.fileno(), _STDERR_TAIL_BYTES, start))
        return f"the decoding process died ({name})" + (f": {last}" if last else "")


def _side_px(job: Job) -> int:
    """Side of the frames that a job gives; 0 where it gives none."""
    if not isinstance(job, DecodeJob) or not job.settings.want_video:
        return 0
    return job.settings.clip.frame_size_px or 0


def _stderr_file() -> IO[bytes]:
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


_CHUNKS_AHEAD = 2  # per clip, of at most 64 frames each
_CLIPS_AHEAD_PER_WORKER = 4
_LOOK_EVERY_S = 0.2


@dataclass(eq=False)
class _Running:
    """A job that was started, and what came of it and was not read yet."""

    job: Job
    messages: deque[Message] = field(default_factory=deque)


Answer = tuple[Job, Message]


def _of_one_job(message: Message, following: Iterator[Message]) -> Iterator[ClipChunk]:
    """Chunks up to the message that is none, which ends a job."""
    while isinstance(message, ClipChunk):
        yield message
        message = next(following)


def _with_own_memory(lent: BorrowedChunk) -> ClipChunk:
    """The same chunk in memory of its own, with nothing to give back."""
    return replace(lent, frames=lent.frames.copy(), done=lambda: None)


class DecodePool:
    """`workers` decoding processes (0: one per core); use as a context manager."""

    worker_module: ClassVar[str] = "data_prep.worker.worker"
    """What a decoding process runs; tests put a stand-in here."""

    def __init__(self, workers: int) -> None:
        self.workers = count_cores(workers)
        self._processes: list[DecodeProcess] = []
        self._ahead = threading.Semaphore(self.workers * _CLIPS_AHEAD_PER_WORKER)
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._running: deque[_Running] = deque()
        self._threads_left = 0
        self._woken = False
        self._failed: Exception | None = None

    def __enter__(self) -> DecodePool:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        for process in list(self._processes):
            process.kill()
        self._ahead.release(self.workers)  # wakes threads that wait to go on

    def run(self, jobs: Iterable[Job]) -> Iterator[Answer]:
        """Every job's messages, jobs in order; the last of each is no ClipChunk."""
        for answer in self.start(jobs, lambda: False):
            if answer is not None:
                job, message = answer
                if isinstance(message, BorrowedChunk):
                    lent, message = message, _with_own_memory(message)
                    lent.release()
                yield job, message

    def chunks(self, jobs: Iterable[Job]) -> Iterator[Iterator[ClipChunk]]:
        """Of every job in order the chunks that it gives, none where it fails at once; each job's
        are to be read to their end before the next job's."""
        messages = (message for _, message in self.run(jobs))
        for message in messages:
            yield _of_one_job(message, messages)

    def start(
        self, jobs: Iterable[Job], may_run_ahead: Callable[[], bool] = lambda: True
    ) -> Iterator[Answer | None]:
        """Start decoding at once; the messages as they come, chunks lent (see `give_back`).

        may_run_ahead: asked before each message whether it may belong to another job than the
        first unfinished one. None is given after `wake`.
        """
        source = iter(jobs)
        lock = threading.Lock()
        self._threads_left = self.workers
        for _ in range(self.workers):
            threading.Thread(target=self._serve, args=(source, lock), daemon=True).start()
        return self._messages(may_run_ahead)

    def wake(self) -> None:
        """Have the reader get a None soon, though no decoder has anything new."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _messages(self, may_run_ahead: Callable[[], bool]) -> Iterator[Answer | None]:
        while True:
            with self._changed:
                found = None
                while found is None and not self._woken:
                    found = self._first_with_message(may_run_ahead())
                    if found is None:
                        if not self._running and not self._threads_left:
                            if self._failed is not None:
                                raise self._failed
                            return
                        self._changed.wait()
                self._woken = False
                message = found.messages.popleft() if found is not None else None
                if found is not None and not isinstance(message, ClipChunk):
                    self._running.remove(found)
                self._changed.notify_all()
            if found is None or message is None:
                yield None
                continue
            yield found.job, message
            if not isinstance(message, ClipChunk):
                self._ahead.release()

    def _first_with_message(self, may_run_ahead: bool) -> _Running | None:
        for running in self._running:
            if running.messages:
                return running
            if not may_run_ahead:
                return None
        return None

    def _serve(self, source: Iterator[Job], lock: threading.Lock) -> None:
        process = DecodeProcess(self.worker_module)
        self._processes.append(process)
        try:
            while not self._closed.is_set():
                self._ahead.acquire()
                with lock:
                    job = self._next(source)
                    if job is None or self._closed.is_set():
                        return
                    running = _Running(job)
                    with self._changed:
                        self._running.append(running)
                try:
                    for message in process.do(job):
                        self._put(running, message)
                except Exception as error:  # noqa: BLE001 - the reader must get an end
                    # no process could be started, its pipe broke, its answer is none
                    process.renew()
                    self._put(running, Failure(Status.CRASHED, f"no decoder: {error}"))
        finally:
            self._processes.remove(process)
            process.close()
            self._ahead.release()  # wakes a thread that waits although there are no more jobs
            with self._changed:
                self._threads_left -= 1
                self._changed.notify_all()

    def _next(self, source: Iterator[Job]) -> Job | None:
        """The next job; None after the last, or after an error that the reader is told."""
        try:
            return next(source, None)
        except Exception as error:  # noqa: BLE001 - raised in the reader's thread
            self._failed = error
            return None

    def _put(self, running: _Running, message: Message) -> None:
        with self._changed:
            while (
                isinstance(message, ClipChunk)
                and len(running.messages) >= _CHUNKS_AHEAD
                and not self._closed.is_set()
            ):
                self._changed.wait(0.5)  # the reader is busy encoding; look whether it has gone
            running.messages.append(message)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Kill processes that are past their time."""
        while not self._closed.wait(_LOOK_EVERY_S):
            for process in list(self._processes):
                process.kill_if_late()
