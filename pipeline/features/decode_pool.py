"""Pool of decoding processes: jobs in, messages out, whatever happens to a process.

Each process is driven by one thread. A process that crashes, hangs or exceeds its time fails only
the file it was decoding, and is replaced. Decoding ahead of the reader is bounded: in clips, and in
bytes by the frames' shared memory, whose slots are granted to a process one at a time.
"""

from __future__ import annotations

import mmap
import os
import queue
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

from data_prep.clip import ClipChunk, UInt8Array
from data_prep.decode_errors import last_line
from data_prep.settings import LimitSettings
from data_prep.status import Status
from data_prep.video.shared_frames import anonymous_file, slot_bytes, slot_view
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
from pipeline.cores import count_cores, lower_priority

_SLOTS = 3  # one is filled, one waits to be read, one is read


@dataclass(frozen=True)
class BorrowedChunk(ClipChunk):
    """A chunk whose frames are in shared memory until `release` is called."""

    done: Callable[[], None] = lambda: None

    def release(self) -> None:
        self.done()


class SharedFramePool:
    """Slots that one decoding process writes frames to.

    file and grants are the descriptors to pass to that process: the memory, and the pipe's end that
    slot numbers are read from.
    """

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        size = _SLOTS * slot_bytes(side_px)
        self.file = anonymous_file(size)
        self._memory = mmap.mmap(self.file, size)
        self.grants, self._grant = os.pipe()
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(_SLOTS):
            self._free.put(number)
        self._is_granted = False

    def grant(self, is_over: Callable[[], bool]) -> None:
        """Make sure that the process has a slot to write to; waits for one until is_over()."""
        while not self._is_granted and not is_over():
            try:
                number = self._free.get(timeout=0.5)
            except queue.Empty:
                continue  # no slot was released yet: check is_over
            os.write(self._grant, bytes([number]))
            self._is_granted = True  # until a chunk uses it: one grant for many messages

    def lend(self, message: SharedChunk) -> BorrowedChunk:
        """The chunk that the process wrote, without copying its frames."""
        self._is_granted = False
        number = message.slot
        return BorrowedChunk(
            message.index, self._view(message), message.frame_times_s, message.waveform,
            message.video_mask, message.audio_mask, message.jpegs, message.waveform_scale,
            lambda: self._free.put(number),
        )  # fmt: skip

    def _view(self, message: SharedChunk) -> UInt8Array:
        return slot_view(self._memory, message.slot, message.n_steps, message.side_px)

    def close(self) -> None:
        """Close the descriptors; the mapping lives on while borrowed chunks refer to it."""
        for descriptor in (self.file, self.grants, self._grant):
            os.close(descriptor)


_JOBS_PER_PROCESS = 200  # then the process is replaced, so that a decoder's leaks do not add up
_STDERR_TAIL_BYTES = 8192


class _TimeLimit:
    """Time that one job may still take. Waiting for the reader does not count."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._planned_s = self._spent_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the next message is overdue."""
        return min(self._limits.stall_timeout_s, self._total_s - self._spent_s)

    @property
    def _total_s(self) -> float:
        return self._limits.timeout_s + self._limits.timeout_per_s * self._planned_s

    def spend(self, waited_s: float) -> None:
        self._spent_s += waited_s

    def plan(self, planned_s: float) -> None:
        """Set the duration of the recording, as far as known by now."""
        # a corrupt header may declare any duration
        self._planned_s = max(self._planned_s, min(planned_s, self._limits.max_declared_s))

    def reason(self) -> str:
        """The limit that was exceeded, in words."""
        limits = self._limits
        if self._spent_s + limits.stall_timeout_s < self._total_s:
            return (
                f"its decoder made no progress for {limits.stall_timeout_s:g} s "
                f"(limits.stall_timeout_s={limits.stall_timeout_s:g})"
            )
        return (
            f"it took more than {self._total_s:.0f} s (limits.timeout_s={limits.timeout_s:g} and "
            f"limits.timeout_per_s={limits.timeout_per_s:g} for each of {self._planned_s:.0f} s)"
        )


class DecodeProcess:
    """One decoding process, started when first needed and again after a crash."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._popen: subprocess.Popen[bytes] | None = None
        self._stderr = _stderr_file()
        self._jobs_done = 0
        self._killed = False
        self._job: Job
        self._deadline_lock = threading.Lock()
        self._deadline_s: float | None = None
        self._timed_out = False
        self._frame_pool: SharedFramePool | None = None

    def do(self, job: Job) -> Iterator[Message]:
        """Messages of the job; a Failure if the process crashes, hangs or takes too long."""
        if self._jobs_done >= _JOBS_PER_PROCESS or not self._has_room_for(job):
            self._stop()
        self._job = job
        popen = self._popen or self._start()
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._jobs_done += 1
        self._timed_out = False
        time_limit = _TimeLimit(job.limits)
        try:
            write_message(popen.stdin, job)
            while True:
                if self._frame_pool is not None:
                    self._frame_pool.grant(lambda: self._killed)
                began_s = time.monotonic()  # after grant, which waits for the reader
                self._expect_until(began_s + time_limit.left_s)
                message = read_message(popen.stdout)
                self._expect_until(None)
                time_limit.spend(time.monotonic() - began_s)
                if isinstance(message, Heartbeat):
                    time_limit.plan(message.expected_duration_s)
                    continue
                if isinstance(message, SharedChunk):
                    assert self._frame_pool is not None
                    message = self._frame_pool.lend(message)
                yield message  # type: ignore[misc]
                if not isinstance(message, ClipChunk):
                    break
            if self._timed_out:  # the last message arrived just as the process was killed
                popen.wait()
                self._popen = None
        except (EOFError, BrokenPipeError):
            self._expect_until(None)
            code = popen.wait()
            self._popen = None
            if self._timed_out:
                yield Failure(Status.TIMEOUT, time_limit.reason())
            else:
                yield Failure(Status.CRASHED, self._stderr_tail(code))

    def kill(self) -> None:
        """Kill the process, and any that is started later; from any thread."""
        self._killed = True  # first, since _start checks it after starting
        if self._popen is not None:
            self._popen.kill()

    def close(self) -> None:
        """Kill the process and close the shared resources; from the driving thread only."""
        self.kill()
        if self._popen is not None:
            self._popen.wait()
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    with suppress(OSError):  # buffered data has no reader any more
                        pipe.close()
        self._close_frame_pool()
        self._stderr.close()

    def _close_frame_pool(self) -> None:
        # None at once: the numbers of closed descriptors are reused for others
        frame_pool, self._frame_pool = self._frame_pool, None
        if frame_pool is not None:
            frame_pool.close()

    def renew(self) -> None:
        """Kill the process; the next job starts a new one."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def kill_if_late(self) -> None:
        """Kill the process if its next message is overdue; called by the watching thread."""
        with self._deadline_lock:
            late = self._deadline_s is not None and time.monotonic() > self._deadline_s
            if late and self._popen is not None:
                self._timed_out = True
                self._popen.kill()

    def _expect_until(self, deadline_s: float | None) -> None:
        with self._deadline_lock:
            self._deadline_s = deadline_s

    def _has_room_for(self, job: Job) -> bool:
        # slots have the size of one job's frames; jobs without frames need none
        return _side_px(job) in (0, self._frame_pool.side_px if self._frame_pool is not None else 0)

    def _start(self) -> subprocess.Popen[bytes]:
        self._close_frame_pool()
        side_px = _side_px(self._job)
        self._frame_pool = frame_pool = SharedFramePool(side_px) if side_px else None
        shared = (frame_pool.file, frame_pool.grants) if frame_pool is not None else ()
        environment = os.environ | {
            # the processes already use all cores
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # glibc: arrays of 1 MB and more are returned to the system when they are freed
            "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024),
        }
        self._popen = subprocess.Popen(
            # -P: a folder named data_prep in the working directory must not shadow the package
            [sys.executable, "-P", "-m", self._module, str(os.getpid()), *map(str, shared)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=shared,
            env=environment,
        )
        lower_priority(self._popen.pid)
        self._jobs_done = 0
        if self._killed:  # by another thread, before _popen was set
            self._popen.kill()
        return self._popen

    def _stop(self) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()  # the worker exits at the end of its input
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
        start = max(0, os.fstat(self._stderr.fileno()).st_size - _STDERR_TAIL_BYTES)
        last = last_line(os.pread(self._stderr.fileno(), _STDERR_TAIL_BYTES, start))
        return f"the decoding process died ({name})" + (f": {last}" if last else "")


def _side_px(job: Job) -> int:
    """Side of the frames that a job returns; 0 if it returns none."""
    if not isinstance(job, DecodeJob) or not job.settings.want_video:
        return 0
    return job.settings.clip.frame_size_px or 0


def _stderr_file() -> IO[bytes]:
    """An anonymous file for the standard error of a process.

    A file rather than a pipe, since the process itself reads back what its decoders reported.
    """
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("decoder-stderr"), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as its process
    with suppress(ImportError):
        import fcntl

        # after the worker truncates the file, writes must continue at its new end
        fcntl.fcntl(file.fileno(), fcntl.F_SETFL, os.O_APPEND)
    return file


_CHUNKS_AHEAD = 2  # per clip, of at most 64 frames each
_CLIPS_AHEAD_PER_WORKER = 4
_WATCH_EVERY_S = 0.2


@dataclass(eq=False)  # two jobs may be equal: deque.remove must compare by identity
class _StartedJob:
    """A started job, and its messages that were not read yet."""

    job: Job
    messages: deque[Message] = field(default_factory=deque)


Answer = tuple[Job, Message]


def _of_one_job(message: Message, following: Iterator[Message]) -> Iterator[ClipChunk]:
    """Chunks up to the first message that is not a chunk, which ends a job."""
    while isinstance(message, ClipChunk):
        yield message
        message = next(following)


def _copied(borrowed: BorrowedChunk) -> ClipChunk:
    """A copy of the chunk in memory of its own, which needs no release."""
    return replace(borrowed, frames=borrowed.frames.copy(), done=lambda: None)


class DecodePool:
    """`workers` decoding processes (0: one per core); use as a context manager."""

    worker_module: ClassVar[str] = "data_prep.worker.worker"  # replaced in tests

    def __init__(self, workers: int) -> None:
        self.workers = count_cores(workers)
        self._processes: list[DecodeProcess] = []
        self._clips_ahead = threading.Semaphore(self.workers * _CLIPS_AHEAD_PER_WORKER)
        self._closed = threading.Event()
        self._condition = threading.Condition()
        self._running: deque[_StartedJob] = deque()
        self._threads_left = 0
        self._wake_requested = False
        self._source_error: Exception | None = None

    def __enter__(self) -> DecodePool:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        for process in list(self._processes):
            process.kill()
        self._clips_ahead.release(self.workers)  # wakes waiting threads, which then end

    def run(self, jobs: Iterable[Job]) -> Iterator[Answer]:
        """Messages of every job, jobs in order; the last message of each is not a ClipChunk."""
        for answer in self.start(jobs, lambda: False):
            if answer is not None:
                job, message = answer
                if isinstance(message, BorrowedChunk):  # callers may keep chunks as they like
                    borrowed, message = message, _copied(message)
                    borrowed.release()
                yield job, message

    def chunks(self, jobs: Iterable[Job]) -> Iterator[Iterator[ClipChunk]]:
        """For every job in order, an iterator over its chunks; empty if it fails at once.

        Each iterator must be exhausted before the next is taken.
        """
        messages = (message for _, message in self.run(jobs))
        for message in messages:
            yield _of_one_job(message, messages)

    def start(
        self, jobs: Iterable[Job], may_run_ahead: Callable[[], bool] = lambda: True
    ) -> Iterator[Answer | None]:
        """Start decoding at once; iterate over the messages as they arrive.

        Chunks are in shared memory until their `release` is called. may_run_ahead: called before
        each message; whether it may belong to another job than the first unfinished one. After
        `wake`, the iterator yields None once.
        """
        source = iter(jobs)
        lock = threading.Lock()
        self._threads_left = self.workers
        for _ in range(self.workers):
            threading.Thread(target=self._serve, args=(source, lock), daemon=True).start()
        return self._messages(may_run_ahead)

    def wake(self) -> None:
        """Make the message iterator yield None soon, without a new message; from any thread."""
        with self._condition:
            self._wake_requested = True
            self._condition.notify_all()

    def _messages(self, may_run_ahead: Callable[[], bool]) -> Iterator[Answer | None]:
        while True:
            with self._condition:
                started = None
                while started is None and not self._wake_requested:
                    started = self._first_with_message(may_run_ahead())
                    if started is None:
                        if not self._running and not self._threads_left:
                            if self._source_error is not None:
                                raise self._source_error
                            return
                        self._condition.wait()
                self._wake_requested = False
                message = started.messages.popleft() if started is not None else None
                if started is not None and not isinstance(message, ClipChunk):
                    self._running.remove(started)
                self._condition.notify_all()  # a thread may wait for room among the messages
            if started is None or message is None:
                yield None
                continue
            yield started.job, message  # without the lock: the reader takes its time
            if not isinstance(message, ClipChunk):
                self._clips_ahead.release()

    def _first_with_message(self, may_run_ahead: bool) -> _StartedJob | None:
        for running in self._running:
            if running.messages:
                return running
            if not may_run_ahead:  # only the first unfinished job counts
                return None
        return None

    def _serve(self, source: Iterator[Job], lock: threading.Lock) -> None:
        process = DecodeProcess(self.worker_module)
        self._processes.append(process)
        try:
            while not self._closed.is_set():
                self._clips_ahead.acquire()
                with lock:
                    job = self._next(source)
                    if job is None or self._closed.is_set():
                        return
                    running = _StartedJob(job)
                    with self._condition:
                        self._running.append(running)
                try:
                    for message in process.do(job):
                        self._put(running, message)
                except Exception as error:  # noqa: BLE001 - the reader must get an end
                    # the process could not be started, its pipe broke, or its message is invalid
                    process.renew()
                    self._put(running, Failure(Status.CRASHED, f"decoding failed: {error}"))
        finally:
            self._processes.remove(process)
            process.close()
            self._clips_ahead.release()  # another thread may wait although no jobs are left
            with self._condition:
                self._threads_left -= 1
                self._condition.notify_all()

    def _next(self, source: Iterator[Job]) -> Job | None:
        """The next job; None after the last, or after an error, which the reader gets."""
        try:
            return next(source, None)
        except Exception as error:  # noqa: BLE001 - raised in the reader's thread
            self._source_error = error
            return None

    def _put(self, running: _StartedJob, message: Message) -> None:
        """Hand a message to the reader; waits while the job has too many unread chunks."""
        with self._condition:
            while (
                isinstance(message, ClipChunk)
                and len(running.messages) >= _CHUNKS_AHEAD
                and not self._closed.is_set()
            ):
                self._condition.wait(0.5)  # with a timeout: the reader may be gone
            running.messages.append(message)
            self._condition.notify_all()

    def _watch(self) -> None:
        """Kill processes whose next message is overdue; runs in a thread of its own."""
        while not self._closed.wait(_WATCH_EVERY_S):
            for process in list(self._processes):
                process.kill_if_late()
