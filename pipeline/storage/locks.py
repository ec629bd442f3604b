"""File locks that admit one process at a time to an output; a second process gets an error.

The lock is released when its owner dies; its file is removed when the owner ends normally.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipeline.errors import UserError

LOCK_NAME = ".lock"  # in a work or run folder


@contextmanager
def exclusive_lock(lock_file: Path, output: Path) -> Iterator[None]:
    """Hold the lock on `output` within the context.

    Raises UserError if another process holds it, or if the folder is not writable.
    """
    lock = FileLock(lock_file, timeout=0)  # fail at once instead of waiting
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock)
    except Timeout:
        raise UserError(
            f"another framewave process is using {output}; wait until it ends, or choose "
            "another output"
        ) from None
    except NotImplementedError:
        yield  # a file system without locks: unprotected, rather than unusable
        return
    except OSError as error:
        raise UserError(
            f"cannot write to {lock_file.parent} ({error.strerror}); choose another folder, or "
            "make this one writable"
        ) from error
    try:
        yield
    finally:
        if os.name != "nt":  # on Windows filelock removes the file
            lock_file.unlink(missing_ok=True)  # while held: afterwards it may be another process's
        lock.release()


def _acquire(lock: BaseFileLock) -> None:
    """Acquire the lock, again if its last owner removed the file between opening and locking."""
    while True:
        try:
            lock.acquire()
        except Timeout:
            if Path(lock.lock_file).exists():  # held by a running process
                raise
        else:
            return
