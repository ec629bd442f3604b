"""What a decoder could not decode: errors counted by position, and what it wrote to stderr.

decord conceals damage and reports it nowhere else; FFmpeg's message ("moov atom not found") says
more than its error code.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class DecodeErrors:
    """Decoding errors before, between and after the units (packets or frames) that decoded.

    Decoders commonly fail on the first units (recordings cut out of a stream) and on garbage after
    the end, so only errors between decoded units are certainly losses.
    """

    leading: int = 0
    middle: int = 0
    trailing: int = 0
    reason: str = ""  # of the first error
    n_decoded: int = 0

    def record_success(self) -> None:
        """A unit was decoded."""
        if self.trailing:
            self.middle += self.trailing  # so the errors before it were not at the end
            self.trailing = 0
        self.n_decoded += 1

    def record_error(self, reason: str) -> None:
        """A unit could not be decoded."""
        self.reason = self.reason or reason
        if self.n_decoded:
            self.trailing += 1
        else:
            self.leading += 1

    @property
    def success_share(self) -> float:
        """Fraction of the units that decoded; 1 without any unit."""
        n_units = self.n_decoded + self.total
        return self.n_decoded / n_units if n_units else 1.0

    @property
    def total(self) -> int:
        """Number of errors."""
        return self.leading + self.middle + self.trailing


_STDERR = 2
_KEPT_BYTES = 64 * 1024
# "[mov,mp4 @ 0x55e0ace8b040]": the address would make the table of every run different
_PREFIX = re.compile(r"\[[^\]\n]*@ 0x[0-9a-f]*\]?\s*")


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Collect the lines written to file descriptor 2; the list is filled when the context exits.

    A standard error that is a file and can be read back (as in a decoding process) is not
    redirected, so that it keeps the last messages before a crash; otherwise it is redirected to a
    temporary file.
    """
    lines: list[str] = []
    sys.stderr.flush()  # Python buffers; what it wrote before is not the library's
    if _readable_file(_STDERR):
        start = os.fstat(_STDERR).st_size
        try:
            yield lines
        finally:
            lines += _lines(os.pread(_STDERR, _KEPT_BYTES, start))  # does not move the offset
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
    """The last non-empty line, without the prefix naming FFmpeg's component, or ""."""
    lines = _lines(data)
    return lines[-1] if lines else ""


def _lines(data: bytes) -> list[str]:
    decoded = data.decode("utf-8", "replace")
    # control characters, such as a terminal's colours, do not belong in a table
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in decoded)
    stripped = (_PREFIX.sub("", line).strip() for line in text.split("\n"))
    return [line[:200] for line in stripped if line]  # a table cell should stay readable


def _readable_file(descriptor: int) -> bool:
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        os.pread(descriptor, 0, 0)  # fails if the file was opened for writing only
    except OSError:
        return False
    return True
