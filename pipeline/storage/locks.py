"""One process at a time on one output: the second is told. The lock dies with its owner, and its
file is removed by one that ends in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipeline.errors import UserError

LOCK_NAME = ".lock"
"""In a work or run folder."""


@contextmanager
def exclusive_lock(lock_file: Path, output: Path) -> Iterator[None]:
    """Hold the lock meanwhile. Raises UserError where another process holds it, or where the folder
    cannot be written in."""
    lock = FileLock(lock_file, timeout=0)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock)
    except Timeout:
        raise UserError(
            f"another framewave is at work on {output}; wait until it has ended, or choose "
            "another output"
        ) from None
    except NotImplementedError:
        yield  # a file system without locks: nothing can be promised there
        return
    except OSError as error:
        raise UserError(
            f"cannot write in {lock_file.parent} ({error.strerror}); choose another folder, or "
            "make this one writable"
        ) from error
    try:
        yield
    finally:
        if os.name != "nt":  # where filelock does it
            lock_file.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
        lock.release()


def _acquire(lock: BaseFileLock) -> None:
    """Again where its last owner removed the file between its opening and its locking."""
    while True:
        try:
            lock.acquire()
        except Timeout:
            if Path(lock.lock_file).exists():
                raise
        else:
            return
