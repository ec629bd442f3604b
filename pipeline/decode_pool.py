"""Decoding processes: jobs in, messages out in job order, whatever happens to a process.

One thread per process talks to it. What is decoded ahead of the reader is bounded: a process that
is ahead waits. A process that dies or falls silent costs its own file a row and is replaced.
"""

from __future__ import annotations

import collections
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator

from data_prep.clip import ClipChunk
from data_prep.protocol import Failure, Job, Message, read_message, write_message
from data_prep.status import Status

_CHUNKS_AHEAD = 3  # per clip, of at most 64 frames each
_CLIPS_AHEAD_PER_WORKER = 4
_JOBS_PER_PROCESS = 200  # then a fresh one, so that no decoder's leak adds up
_STDERR_LINES = 40


class DecodePool:
    """`workers` decoding processes; use as a context manager."""

    def __init__(self, workers: int, chunk_timeout_s: float) -> None:
        self.workers = workers if workers > 0 else (os.cpu_count() or 1)
        self._timeout_s = chunk_timeout_s
        self._processes: list[_Process] = []
        self._ahead = threading.Semaphore(self.workers * _CLIPS_AHEAD_PER_WORKER)
        self._closed = threading.Event()

    def __enter__(self) -> DecodePool:
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
            process = _Process(self._timeout_s)
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
                    except OSError as error:  # no process could be started, or its pipe broke
                        process.kill()
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


class _Process:
    """One decoding process, started when first needed and again after it died."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._popen: subprocess.Popen[bytes] | None = None
        self._stderr: collections.deque[str] = collections.deque(maxlen=_STDERR_LINES)
        self._jobs_done = 0
        self._killed = False

    def do(self, job: Job) -> Iterator[Message]:
        """The job's messages; a crash or a silence of more than the limit gives a Failure."""
        if self._jobs_done >= _JOBS_PER_PROCESS:
            self._stop()
        popen = self._popen or self._start()
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._jobs_done += 1
        timed_out = threading.Event()

        def expire() -> None:
            timed_out.set()
            popen.kill()

        try:
            write_message(popen.stdin, job)
            while True:
                watchdog = threading.Timer(self._timeout_s, expire)
                watchdog.daemon = True
                watchdog.start()
                try:
                    message = read_message(popen.stdout)
                finally:
                    watchdog.cancel()
                yield message  # type: ignore[misc]
                if not isinstance(message, ClipChunk):
                    return
        except (EOFError, BrokenPipeError):
            code = popen.wait()
            self._popen = None
            if timed_out.is_set():
                reason = f"no progress for {self._timeout_s:g} s (limits.chunk_timeout_s)"
                yield Failure(Status.TIMEOUT, reason)
            else:
                yield Failure(Status.CRASHED, self._last_words(code))

    def kill(self) -> None:
        self._killed = True
        if self._popen is not None:
            self._popen.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a folder named data_prep where the user happens to stand must not shadow ours.
        # A session of its own: Ctrl-C is the parent's to handle.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "data_prep.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | one_thread,
            start_new_session=True,
        )
        self._stderr.clear()
        self._jobs_done = 0
        threading.Thread(target=self._drain, args=(self._popen,), daemon=True).start()
        if self._killed:
            self._popen.kill()
        return self._popen

    def _stop(self) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
            self._popen.wait()
            self._popen = None

    def _drain(self, popen: subprocess.Popen[bytes]) -> None:
        """Keep the decoders' own chatter off the screen, its last lines for the row's reason."""
        assert popen.stderr is not None
        for line in popen.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._stderr.append(text)

    def _last_words(self, code: int) -> str:
        name = f"exit code {code}"
        if code < 0:
            name = signal.Signals(-code).name
        last = f": {self._stderr[-1]}" if self._stderr else ""
        return f"the decoding process died ({name}){last}"
