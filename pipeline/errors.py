"""Errors that end a command.

UserError    the user's mistake: one clear message with what to do, exit code 2
(data_prep.status.DataSetError is shown the same way)
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, with the value and the file, and what to do about it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the known word most like this one, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


def first_problem(error: Exception) -> str:
    """One line on why data cannot be read; for a file that does not validate, which entry."""
    from pydantic import ValidationError  # here, for --help does without

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        return ": ".join(filter(None, (entry, first["msg"].removeprefix("Value error, "))))
    return (str(error).splitlines() or [type(error).__name__])[0]


_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: BaseException) -> bool:
    """Whether the error, or one it came from, says that a disk, quota or file limit is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK_FULL:
            return True
        if "No space left on device" in str(seen):  # libraries that keep the words, not the number
            return True
        seen = seen.__cause__ or seen.__context__
    return False


_USERS_FILE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT,
     errno.ENAMETOOLONG, errno.EEXIST}
)  # fmt: skip


def is_users_file(error: BaseException) -> bool:
    """Whether the error names a file or folder that cannot be used as the user asked."""
    return isinstance(error, OSError) and bool(error.filename) and error.errno in _USERS_FILE
