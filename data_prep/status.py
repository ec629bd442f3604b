"""Status of a file, and the failures that give it one.

MediaError                 something about one file; costs one row, never the run
├── MissingFileError       status "missing"
├── UnreadableError        status "unreadable"
├── NotMediaError          status "not_media"
├── NoUsableStreamError    status "no_usable_stream"
└── RefusedError           status "refused"
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What became of a file. Only OK and PARTIAL carry a prediction."""

    OK = "ok"
    PARTIAL = "partial"
    NO_USABLE_STREAM = "no_usable_stream"
    NOT_MEDIA = "not_media"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    CRASHED = "crashed"

    @property
    def usable(self) -> bool:
        return self in (Status.OK, Status.PARTIAL)


TRIED_AGAIN = frozenset({Status.TIMEOUT, Status.CRASHED, Status.MISSING})
"""A busy machine, one short of memory, or a drive that was away, is no property of the file."""


class MediaError(Exception):
    """A file cannot be used; `status` and the message become its row."""

    status: Status = Status.UNREADABLE


class MissingFileError(MediaError):
    status = Status.MISSING


class UnreadableError(MediaError):
    status = Status.UNREADABLE


class NotMediaError(MediaError):
    status = Status.NOT_MEDIA


class NoUsableStreamError(MediaError):
    status = Status.NO_USABLE_STREAM


Limit = tuple[str, float]
"""A setting of group `limits` and its value at the time: by another value the file is tried anew.
"""


class RefusedError(MediaError):
    """Over a limit, which is named in the text and in `limit`."""

    status = Status.REFUSED

    def __init__(self, text: str, limit: Limit | None = None) -> None:
        super().__init__(text)
        self.limit = limit


class DataSetError(Exception):
    """The data set as a whole cannot be used as asked; the message says what to do."""
