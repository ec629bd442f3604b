"""Status of a file, the exceptions that set it, and counts in messages.

MediaError                 concerns one file: fails one row, never the run
├── MissingFileError       status "missing"
├── UnreadableError        status "unreadable"
├── NotMediaError          status "not_media"
├── NoUsableStreamError    status "no_usable_stream"
└── RefusedError           status "refused"
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Outcome of processing a file. Only OK and PARTIAL have a prediction."""

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
        """Whether clips with this status have data to classify."""
        return self in (Status.OK, Status.PARTIAL)


# may be due to a busy machine, lack of memory or an unmounted drive: the next run tries again
TRIED_AGAIN = frozenset({Status.TIMEOUT, Status.CRASHED, Status.MISSING})


class MediaError(Exception):
    """A file cannot be used; its row gets `status` and the message."""

    status: Status = Status.UNREADABLE  # unless a subclass is more specific


class MissingFileError(MediaError):
    status = Status.MISSING


class UnreadableError(MediaError):
    status = Status.UNREADABLE


class NotMediaError(MediaError):
    status = Status.NOT_MEDIA


class NoUsableStreamError(MediaError):
    status = Status.NO_USABLE_STREAM


Limit = tuple[str, float]  # (key of `limits`, its value): with another value the file is retried


class RefusedError(MediaError):
    """A file exceeds a limit, named in the message and in `limit`."""

    status = Status.REFUSED

    def __init__(self, text: str, limit: Limit | None = None) -> None:
        super().__init__(text)
        self.limit = limit


class DataSetError(Exception):
    """The data set as a whole cannot be used as requested; the message says what to do."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 clip, 2 clips; many is the plural if it is irregular."""
    return f"{n:,} {one if n == 1 else many or one + 's'}".replace(",", " ")  # 12 345
