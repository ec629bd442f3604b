"""Where what was begun and what is asked for differ, for messages that name it.

A journal: lines of JSON appended as work is done, so that a killed run goes on where it was.

The first line is a header that names what the lines depend on. A run that was killed, or a machine
that lost power, leaves at most a damaged end; it is cut off, and what it told is done again.
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
    here: dict[str, Any], asked: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value here, value asked) of every key here whose value is another."""
    for key, value in here.items():
        other = asked.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other


_KIND = "framewave_journal"
_VERSION = 2
_SYNC_EVERY_S = 2.0


class OtherJournalError(UserError):
    """The journal was begun with other settings; the message says which."""


class Journal:
    """Use as a context manager after `open`; entries are JSON objects."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self._header = {_KIND: _VERSION, **header}
        self._file: IO[bytes] | None = None
        self._whole_bytes = 0
        self._synced_s = time.monotonic()

    def open(self) -> list[dict[str, Any]]:
        """Entries written before. Raises OtherJournalError, or UserError for a foreign file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = self._path.read_bytes() if self._path.exists() else b""
        objects, self._whole_bytes = _whole_objects(data)
        if objects:
            self._refuse_other(objects[0])
        elif data and not b'{"framewave_journal'.startswith(data[:18]):
            raise UserError(f"{self._path} is no journal of framewave; move it away, or delete it")
        # append mode would do, but what is damaged at the end has to be cut off
        self._file = self._path.open("r+b" if data else "w+b", buffering=0)
        self._file.truncate(self._whole_bytes)
        self._file.seek(self._whole_bytes)
        if not objects:
            self.add(self._header)
        return objects[1:]

    def add(self, entry: dict[str, Any]) -> None:
        """Append; the operating system has it when this returns, the disk within two seconds."""
        assert self._file is not None
        line = (json.dumps(entry, ensure_ascii=True) + "\n").encode()
        try:
            written = 0
            while written < len(line):  # a disk that is nearly full takes a part, then raises
                written += self._file.write(line[written:])
        except OSError:
            self._file.truncate(self._whole_bytes)
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
            with suppress(OSError):  # the error that brought us here says more
                os.fsync(self._file.fileno())
            self._file.close()

    def _refuse_other(self, header: dict[str, Any]) -> None:
        if _KIND not in header:
            raise UserError(f"{self._path} is no journal of framewave; move it away, or delete it")
        differing = [
            f"{key} was {before}, is {now}"
            for key, now, before in differences(self._header, header)
        ]
        if differing:
            raise OtherJournalError(
                f"{self._path} was begun with other settings: {'; '.join(differing)}. Choose "
                "another --out, or delete the journal to begin anew"
            )


def _whole_objects(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of the undamaged beginning, and how many bytes it has."""
    objects, end = [], 0
    for line in data.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not line.endswith(b"\n") or not isinstance(value, dict):
            break
        objects.append(value)
        end += len(line)
    return objects, end
