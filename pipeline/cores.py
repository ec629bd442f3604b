"""Number of cores, available memory, and priorities of processes and threads.

Decoders and the CNN's threads outnumber the cores. At a lower priority they leave a whole core to
the one thread that loads torch and classifies, so that the first row of a table comes after 4 s
instead of 6.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

_NICENESS = 10  # of decoders and the CNN's threads

T = TypeVar("T")


def count_cores(wish: int = 0) -> int:
    """The requested number of cores; 0: all that this process may run on."""
    if wish > 0:
        return wish
    if hasattr(os, "sched_getaffinity"):  # Linux; fewer than all under taskset or in a container
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_bytes() -> int | None:
    """Memory available without swapping, within the container's limit; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        return None
    cgroup = Path("/sys/fs/cgroup")
    try:
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        limit = int((cgroup / "memory.max").read_text())
        # the page cache counts as used, but is reclaimable
        used = int((cgroup / "memory.current").read_text()) - int(stat["inactive_file"])
    except (OSError, KeyError, ValueError):  # no limit ("max"), or no cgroup
        return free
    return max(0, min(free, limit - used))


def lower_priority(pid: int) -> None:
    """Lower the priority of a process, or on Linux of a thread; no effect if that is impossible."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + _NICENESS)


def in_background(work: Callable[[], T]) -> T:
    """Run `work` in a thread of lower priority (Linux), wait, and return its result.

    Threads that it starts inherit the priority. Raises what `work` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        if hasattr(os, "sched_getaffinity"):  # elsewhere an id names a process, not a thread
            lower_priority(threading.get_native_id())
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
