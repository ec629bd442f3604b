"""One process at a time on one output: the second is told, and the lock dies with its owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError

LOCK_NAME = ".lock"
"""In a work or run folder."""


@contextmanager
def only_one(lock_file: Path, output: Path) -> Iterator[None]:
    """Hold the lock meanwhile. Raises UserError where another process holds it, or where the folder
    cannot be written in."""
    lock = FileLock(lock_file, timeout=0)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
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
        lock.release()
