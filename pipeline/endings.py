"""How a command ends: exit codes, what is said of errors, and how to continue."""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from types import FrameType

from pipeline.errors import UserError, is_disk_full, is_users_file

EXIT_OURS, EXIT_USER, EXIT_STRICT, EXIT_INTERRUPTED = 1, 2, 3, 130


class Interrupted(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, which libraries on the way catch and turn into an error."""


def interrupt(signum: int, frame: FrameType | None) -> None:
    for same in (signal.SIGINT, signal.SIGTERM):
        signal.signal(same, signal.SIG_IGN)  # the first one is being obeyed
    raise Interrupted


def explain(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    from data_prep.status import DataSetError
    from pipeline.console import print_error

    if isinstance(error, UserError | DataSetError):
        print_error(str(error))
        return EXIT_USER
    if is_disk_full(error):
        again = same_command()
        print_error(f"the disk is full ({error}); make room, then continue with: {again}")
        return EXIT_USER
    if is_users_file(error):
        print_error(str(error).partition("] ")[2] or str(error))
        return EXIT_USER
    traceback.print_exc()
    print_error("this is framewave's fault, not yours; please report it with the lines above")
    return EXIT_OURS


def say_last(text: str) -> None:
    from pipeline.console import print_error_line

    print_error_line(text)
    sys.stdout.flush()


def same_command() -> str:
    return shlex.join(["framewave", *sys.argv[1:]])
