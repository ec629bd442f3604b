"""The machine's cores and memory: how much may be used, and who goes first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

_NICENESS = 10
"""Of decoders and the CNN's threads. There are more of them than cores, so loading torch and
judging, of which there is one thread, would otherwise get a fraction of a core while all else waits
for them: the first row of a table came after 6 s instead of 4."""

T = TypeVar("T")


def count_cores(wish: int = 0) -> int:
    """As many as are wished for; 0: all that this process may run on."""
    if wish > 0:
        return wish
    if hasattr(os, "sched_getaffinity"):  # Linux; less than all under taskset or in a container
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_bytes() -> int | None:
    """What could be taken without swapping, in this container's bounds; None where unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        return None
    group = Path("/sys/fs/cgroup")
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        most = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
    except (OSError, KeyError, ValueError):  # "max", or no such group
        return free
    return max(0, min(free, most - used))


def let_go_last(pid: int) -> None:
    """Lower the priority of a process, or (Linux) of a thread; no effect where there is no such."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + _NICENESS)


def in_background(work: Callable[[], T]) -> T:
    """What `work` returns. Threads that it starts (Linux) have a lower priority, as it has."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        if hasattr(os, "sched_getaffinity"):  # elsewhere an id names a process, not a thread
            let_go_last(threading.get_native_id())
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
