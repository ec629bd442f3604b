"""Errors that end a command, and helpers for their messages.

UserError    a mistake of the user: one message that says what to do, exit code 2
(data_prep.status.DataSetError is shown in the same way)
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user; the message names the value and the file, and says what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the most similar known word, or "" if none is similar."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def first_problem(error: Exception) -> str:
    """The error in one line; for a ValidationError, its first entry with the reason."""
    from pydantic import ValidationError  # not at the top: --help should start fast

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        return ": ".join(filter(None, (entry, first["msg"].removeprefix("Value error, "))))
    return (str(error).splitlines() or [type(error).__name__])[0]


_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: BaseException) -> bool:
    """Whether the error or one of its causes is a full disk, quota or file size limit."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _DISK_FULL:
            return True
        if "No space left on device" in str(cause):  # some libraries keep the message, not errno
            return True
        cause = cause.__cause__ or cause.__context__
    return False


_USERS_FILE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT,
     errno.ENAMETOOLONG, errno.EEXIST}
)  # fmt: skip


def is_users_file(error: BaseException) -> bool:
    """Whether the error is about a file or folder that cannot be used as requested."""
    # without a file name, the error need not be about a path that the user gave
    return isinstance(error, OSError) and bool(error.filename) and error.errno in _USERS_FILE
