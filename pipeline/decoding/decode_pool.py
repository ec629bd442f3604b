"""Decoding processes: jobs in, messages out, whatever happens to a process.

One thread per process talks to it. What is decoded ahead of the reader is bounded: in clips, and in
bytes by the shared memory that frames come in. A process that is ahead waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from data_prep.clip import ClipChunk
from data_prep.process.protocol import Failure, Job, Message
from data_prep.status import Status
from pipeline.cores import count_cores
from pipeline.decoding.decode_process import DecodeProcess
from pipeline.decoding.frame_arena import LentChunk

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


def _copied(lent: LentChunk) -> ClipChunk:
    """The same chunk in memory of its own, with nothing to give back."""
    return replace(lent, frames=lent.frames.copy(), done=lambda: None)


class DecodePool:
    """`workers` decoding processes (0: one per core); use as a context manager."""

    worker_module: ClassVar[str] = "data_prep.process.worker"
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
                if isinstance(message, LentChunk):
                    lent, message = message, _copied(message)
                    lent.give_back()
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
