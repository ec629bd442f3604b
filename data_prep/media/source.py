"""One open handle per thread, shared by everything that reads headers of the same file in turn.

Probing an MP4 reads its first bytes, its boxes and its end in a dozen places; on a network drive
each open is a round trip. Decoders open the file themselves: FFmpeg reads faster without Python.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_current = threading.local()  # decoding processes have one thread, the leak audit several


@contextmanager
def open_source(path: str) -> Iterator[IO[bytes]]:
    """The file, at its first byte. Uses of it must not be nested.

    The handle stays open for the next use by this thread, as long as that is of the same file with
    the same size and modification time. Raises OSError and ValueError as `open` does.
    """
    found = Path(path).stat()
    identity = path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    if getattr(_current, "identity", None) != identity:
        close_source()
        _current.file = Path(path).open("rb")  # noqa: SIM115 - closed by close_source
        _current.identity = identity
    assert not getattr(_current, "in_use", False), "uses of a source must not be nested"
    _current.in_use = True
    _current.file.seek(0)
    try:
        yield _current.file
    finally:
        _current.in_use = False


def close_source() -> None:
    """Close this thread's handle, if there is one: an open file cannot be deleted on Windows,
    and keeps its disk space elsewhere."""
    if getattr(_current, "identity", None) is not None:
        _current.identity = None
        _current.file.close()
