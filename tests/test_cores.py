import os
import subprocess
import sys
import threading

import pytest

from pipeline.cores import count_cores, in_background, lower_priority

LINUX = sys.platform.startswith("linux")


def test_as_many_cores_as_asked_for() -> None:
    assert count_cores(3) == 3


@pytest.mark.skipif(not LINUX, reason="other systems do not tell which cores a process may use")
def test_only_cores_that_this_process_may_run_on_are_counted() -> None:
    allowed = os.sched_getaffinity(0)
    assert count_cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert count_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(not LINUX, reason="niceness is POSIX's")
def test_a_process_goes_last() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        before = os.getpriority(os.PRIO_PROCESS, process.pid)
        lower_priority(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > before
        process.communicate(b"\n")
    lower_priority(process.pid)  # there is no such process any more; nothing to do


@pytest.mark.skipif(not LINUX, reason="niceness of threads is Linux's")
def test_background_work_and_its_threads_have_a_lower_priority_than_the_rest() -> None:
    found: list[int] = []

    def note() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def work() -> str:
        note()
        inner = threading.Thread(target=note)
        inner.start()
        inner.join()
        return "done"

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert in_background(work) == "done"
    assert found[0] == found[1] > own
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_what_goes_wrong_in_the_background_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_background(fail)
