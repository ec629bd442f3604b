"""Append-only journal of JSON lines, from which a killed run resumes.

The first line is a header with the settings that the entries depend on. A killed run or a power
failure damages at most the end of the file; it is truncated, and the work lost with it is repeated.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pipeline.errors import UserError


def differences(
    here: dict[str, Any], requested: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, value here, requested value) for every key of `here` that differs."""
    for key, value in here.items():
        other = requested.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other


_KIND = "framewave_journal"
_VERSION = 2
_SYNC_EVERY_S = 2.0  # an fsync per entry would slow down fast runs


class OtherJournalError(UserError):
    """The journal was written with other settings; the message names them."""


class Journal:
    """A journal file; entries are JSON objects. Call `open`, then use as a context manager."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self._header = {_KIND: _VERSION, **header}
        self._file: IO[bytes] | None = None
        self._whole_bytes = 0  # length of the complete lines
        self._synced_s = time.monotonic()

    def open(self) -> list[dict[str, Any]]:
        """Open for appending; return the existing entries.

        Raises OtherJournalError for other settings, and UserError for a file that is not a journal.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = self._path.read_bytes() if self._path.exists() else b""
        objects, self._whole_bytes = _whole_objects(data)
        if objects:
            self._refuse_other(objects[0])
        # no complete line: a header that was cut off is ours, anything else is not
        elif data and not b'{"framewave_journal'.startswith(data[:18]):
            raise UserError(f"{self._path} is not a framewave journal; move or delete it")
        # not in append mode, since a damaged end has to be truncated
        self._file = self._path.open("r+b" if data else "w+b", buffering=0)
        self._file.truncate(self._whole_bytes)
        self._file.seek(self._whole_bytes)
        if not objects:
            self.add(self._header)
        return objects[1:]

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry.

        It survives a crash of the process as soon as this returns. Entries are synced to disk at
        most every two seconds. Raises OSError if the disk is full; the file then ends before it.
        """
        assert self._file is not None
        # ASCII: lone surrogates of file names have no UTF-8 encoding
        line = (json.dumps(entry, ensure_ascii=True) + "\n").encode()
        try:
            written = 0
            while written < len(line):  # a nearly full disk accepts a part first, then raises
                written += self._file.write(line[written:])
        except OSError:
            self._file.truncate(self._whole_bytes)  # the partial line
            raise
        self._whole_bytes += len(line)
        if time.monotonic() - self._synced_s > _SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced_s = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # must not replace the error that is being raised
                os.fsync(self._file.fileno())
            self._file.close()

    def _refuse_other(self, header: dict[str, Any]) -> None:
        if _KIND not in header:
            raise UserError(f"{self._path} is not a framewave journal; move or delete it")
        differing = [
            f"{key} was {before}, is {now}"
            for key, now, before in differences(self._header, header)
        ]
        if differing:
            raise OtherJournalError(
                f"{self._path} was started with other settings: {'; '.join(differing)}. Choose "
                "another --out, or delete the journal to start again"
            )


def _whole_objects(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of the complete lines at the beginning, and their length in bytes."""
    objects, end = [], 0
    for line in data.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not line.endswith(b"\n") or not isinstance(value, dict):  # cut off, yet valid JSON
            break
        objects.append(value)
        end += len(line)
    return objects, end
