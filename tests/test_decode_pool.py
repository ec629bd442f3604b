import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary
from data_prep.media.probe import MediaInfo
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import Status
from data_prep.worker.protocol import DecodeJob, Failure, ProbeJob
from pipeline.features.decode_pool import BorrowedChunk, DecodePool
from tests.helpers.media import write_video

SETTINGS = DecodeSettings(ClipSettings(frame_size_px=64), LimitSettings())


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [
        str(write_video(folder / f"{i}.mp4", [100 * k for k in range(20 + 60 * (i % 3))]))
        for i in range(12)
    ]


def jobs(paths):
    return [DecodeJob(ClipSource(path, path), SETTINGS) for path in paths]


def test_workers_never_import_torch() -> None:
    code = "import data_prep.worker.worker, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_messages_come_in_job_order(videos, workers: int) -> None:
    with DecodePool(workers) as pool:
        ends = [
            (job.source.id, message)
            for job, message in pool.run(jobs(videos))
            if not isinstance(message, ClipChunk)
        ]
    assert [path for path, _ in ends] == videos
    assert all(isinstance(end, DecodeSummary) for _, end in ends)


def test_results_do_not_depend_on_the_number_of_workers(videos) -> None:
    def frames(workers: int):
        with DecodePool(workers) as pool:
            return [m.frames for _, m in pool.run(jobs(videos)) if isinstance(m, ClipChunk)]

    assert all(np.array_equal(a, b) for a, b in zip(frames(1), frames(3), strict=True))


def test_probes_answer_in_order_failures_included(videos, tmp_path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    with DecodePool(2) as pool:
        paths = [videos[0], str(tmp_path / "x.mp4")]
        answers = [m for _, m in pool.run(ProbeJob(path, LimitSettings()) for path in paths)]
    assert isinstance(answers[0], MediaInfo)
    assert isinstance(answers[1], Failure)


def test_each_jobs_chunks_are_its_own_and_a_failure_has_none(videos, tmp_path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    paths = [videos[0], str(tmp_path / "x.mp4"), videos[0], videos[1]]
    with DecodePool(2) as pool:
        given = [[chunk.index for chunk in chunks] for chunks in pool.chunks(jobs(paths))]
    assert len(given) == 4
    assert given[1] == []
    assert given[0] == given[2] == list(range(len(given[0])))
    assert given[0]
    assert given[3] == list(range(len(given[3])))


def test_a_process_that_dies_costs_its_own_file_only(videos, tmp_path) -> None:
    """The first job hangs on a pipe that never delivers; its process is killed from outside."""
    with DecodePool(1) as pool:
        run = pool.run(jobs(videos))
        first = next(run)
        victim = pool._processes[0]._popen
        os.kill(victim.pid, signal.SIGSEGV)
        rest = [(job.source.id, message) for job, message in run]
    ends = {path: message for path, message in rest if not isinstance(message, ClipChunk)}
    crashed = [end for end in ends.values() if isinstance(end, Failure)]
    assert isinstance(first[1], ClipChunk)
    assert len(crashed) <= 2
    assert all(end.status is Status.CRASHED and "SIGSEGV" in end.reason for end in crashed)
    assert isinstance(ends[videos[-1]], DecodeSummary)


def test_no_process_is_left_behind(videos) -> None:
    with DecodePool(2) as pool:
        next(pool.run(jobs(videos)))
        pids = [p._popen.pid for p in pool._processes if p._popen]
    deadline = time.monotonic() + 10
    while any(_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert threading.active_count() < 20


def _running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while it was read
        return False


def test_pools_leave_no_descriptor_open(videos) -> None:
    def use() -> dict[str, str]:
        before = threading.active_count()
        with DecodePool(2) as pool:
            for _ in pool.run(jobs(videos[:2])):
                pass
        deadline = time.monotonic() + 10
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        return _open_descriptors()

    first = use()
    # New ones only: what earlier tests left to the garbage collector may close in between.
    assert use().items() - first.items() == set()


def _open_descriptors() -> dict[str, str]:
    """Return descriptor number -> what it refers to (pipes and sockets by their inode)."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found[entry.name] = str(entry.readlink())
    return found


def test_an_ordered_readers_frames_are_its_own(videos) -> None:
    with DecodePool(1) as pool:
        for _, message in pool.run(jobs(videos)):
            if isinstance(message, ClipChunk):
                kept = message.frames.copy()
                message.release()  # does nothing: they were copied
                assert np.array_equal(message.frames, kept)


def test_a_process_that_cannot_start_costs_rows_and_hangs_nothing(videos, monkeypatch) -> None:
    def no_memory(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    with DecodePool(2) as pool:
        ends = [message for _, message in pool.run(jobs(videos[:3]))]
    assert [end.status for end in ends] == [Status.CRASHED] * 3
    assert all("Cannot allocate memory" in end.reason for end in ends)


def test_names_that_are_no_text_are_decoded(videos, tmp_path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    os.link(videos[0], name)
    with DecodePool(1) as pool:
        *_, end = [message for _, message in pool.run(jobs([name]))]
    assert isinstance(end, DecodeSummary)


class StandInPool(DecodePool):
    worker_module = "tests.helpers.stand_in_worker"


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def stand_in(monkeypatch) -> None:
    """Decoding processes find the stand-in: they look nowhere but at what is installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


DEATHS = [
    ("sigsegv", Status.CRASHED, "SIGSEGV"),
    ("sigkill", Status.CRASHED, r"SIGKILL\): useful last line$"),
    ("sigabrt", Status.CRASHED, "SIGABRT"),
    ("loop", Status.TIMEOUT, r"made no progress for 2 s \(limits.stall_timeout_s=2\)"),
    ("busy", Status.TIMEOUT, r"more than 7 s \(limits.timeout_s=5 and limits.timeout_per_s=20"),
    ("memory", Status.REFUSED, r"limits.worker_memory_mb=600"),
    ("unpicklable", Status.CRASHED, "exit code 1.*a decoder's own error"),
    ("exit", Status.CRASHED, "exit code 0"),
    ("sysexit", Status.CRASHED, "exit code 0"),
    ("hoard", Status.REFUSED, r"limits.worker_memory_mb=600"),
    ("late", Status.CRASHED, "SIGSEGV"),
    ("chatter", Status.OK, "^$"),
]


@pytest.mark.parametrize("kind", ["decode", "probe"])
@pytest.mark.usefixtures("stand_in")
def test_every_death_of_a_worker_costs_one_true_row(videos, tmp_path, kind: str) -> None:
    """Good files lie between; each keeps its row, and the reasons name what happened."""
    short = LimitSettings(stall_timeout_s=2, timeout_s=5, timeout_per_s=20, worker_memory_mb=600)
    # of jobs that are not to be late: on a busy machine any of them may take a while
    long = short.model_copy(update={"stall_timeout_s": 100, "timeout_s": 100})
    expected, todo = [], []
    for name, status, reason in DEATHS:
        if kind == "probe" and name in ("hoard", "late"):
            continue
        for path, want in ((tmp_path / f"{name}.mp4", (status, reason)), (videos[0], None)):
            if want:
                os.link(videos[1], path)
            limits = short if want and status is Status.TIMEOUT else long
            if name == "busy" and want:  # its process may need more than 2 s to start
                limits = short.model_copy(update={"stall_timeout_s": 6})
            settings = DecodeSettings(ClipSettings(frame_size_px=64), limits)
            job = ProbeJob(str(path), limits)
            if kind == "decode":
                job = DecodeJob(ClipSource(str(path), str(path)), settings)
            todo.append(job)
            expected.append(want or (Status.OK, "^$"))
    with StandInPool(2) as pool:
        ends = [m for _, m in pool.run(todo) if not isinstance(m, ClipChunk)]
    assert len(ends) == len(todo)
    for end, (status, reason) in zip(ends, expected, strict=True):
        got = (end.status, end.reason) if not isinstance(end, MediaInfo) else (Status.OK, "")
        assert got[0] is status, (got, status)
        assert re.search(reason, got[1]), (got, reason)


def test_time_spent_waiting_for_the_reader_is_not_the_files(videos) -> None:
    limits = LimitSettings(stall_timeout_s=10, timeout_s=10, timeout_per_s=0)
    settings = DecodeSettings(ClipSettings(frame_size_px=64, frame_rate_hz=50), limits)
    with DecodePool(1) as pool:
        answers = pool.start([DecodeJob(ClipSource("x", videos[2]), settings)])
        lent = [next(answers)[1] for _ in range(3)]  # all slots: the process waits for one
        time.sleep(12)  # a slow reader; the limits are long for the sake of busy machines
        for chunk in lent:
            chunk.release()
        for _, message in answers:
            if isinstance(message, BorrowedChunk):
                message.release()
    assert message.status is Status.OK


@pytest.mark.usefixtures("stand_in")
def test_workers_die_with_a_killed_parent(videos, tmp_path) -> None:
    """kill -9 leaves no endless loop behind."""
    os.link(videos[0], tmp_path / "loop.mp4")
    code = f"""
from tests.test_decode_pool import *
with StandInPool(1) as pool:
    run = pool.run(jobs([{videos[0]!r}, {str(tmp_path / "loop.mp4")!r}]))
    for _ in range(2): next(run)
    print(pool._processes[0]._popen.pid, flush=True)
    next(run)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert _running(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while _running(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_goes_wrong_in_listing_jobs_reaches_the_reader(videos) -> None:
    def listed():
        yield from jobs(videos[:3])
        raise RuntimeError("no more names")

    ends: list[DecodeSummary] = []

    def read_all() -> None:
        with DecodePool(2) as pool:
            for _, message in pool.run(listed()):
                if isinstance(message, DecodeSummary):
                    ends.append(message)

    with pytest.raises(RuntimeError, match="no more names"):
        read_all()
    assert len(ends) == 3
