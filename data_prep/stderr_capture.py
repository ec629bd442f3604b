"""What C libraries write to standard error: kept off the screen, and used as evidence.

decord conceals damage and says so nowhere but there; FFmpeg's own line ("moov atom not found")
says more than its error code.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_KEPT_BYTES = 64 * 1024
# "[mov,mp4 @ 0x55e0ace8b040]": an address in it would make every run's table another one
_PREFIX = re.compile(r"\[[^\]\n]*@ 0x[0-9a-f]*\]?\s*")


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Lines that were written to file descriptor 2 meanwhile, known when the context is left.

    Where standard error is a file that can be read back (as in a decoding process), it stays where
    it is, so that a crash's last words are in it; elsewhere it is redirected meanwhile.
    """
    lines: list[str] = []
    sys.stderr.flush()
    if _readable_file(_STDERR):
        start = os.fstat(_STDERR).st_size
        try:
            yield lines
        finally:
            lines += _lines(os.pread(_STDERR, _KEPT_BYTES, start))
        return
    saved = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield lines
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            lines += _lines(os.pread(file.fileno(), _KEPT_BYTES, 0))


def last_line(data: bytes) -> str:
    """The last line worth reading, without the component that spoke, or ""."""
    lines = _lines(data)
    return lines[-1] if lines else ""


def _lines(data: bytes) -> list[str]:
    decoded = data.decode("utf-8", "replace")
    # A terminal's control characters have no place in a table.
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in decoded)
    stripped = (_PREFIX.sub("", line).strip() for line in text.split("\n"))
    return [line[:200] for line in stripped if line]


def _readable_file(descriptor: int) -> bool:
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        os.pread(descriptor, 0, 0)
    except OSError:
        return False
    return True
