"""Progress reporting of long tasks. Only the command line prints; everything else calls this."""

from __future__ import annotations

from typing import Protocol


class ProgressReporter(Protocol):
    """Receives notes and progress. One task at a time: start, advance, …, finish."""

    def note(self, text: str) -> None:
        """A message of one line for the user."""

    def start(self, what: str, total: int, done_before: int = 0) -> None:
        """A task of `total` units starts, `done_before` of them done by an earlier run."""

    def expect(self, size_bytes: int) -> None:
        """Announce the size of the files to be processed, which predicts the time left better."""

    def advance(
        self,
        done: int = 1,
        detail: str = "",
        *,
        failed: bool = False,
        media_s: float = 0.0,
        size_bytes: int = 0,
    ) -> None:
        """Units are done, or seconds or bytes of media; `detail` is shown next to the progress."""

    def finish(self) -> None:
        """The task is finished."""


class SilentReporter:
    """Reports nothing; for use from Python and in tests."""

    def note(self, text: str) -> None:
        pass

    def start(self, what: str, total: int, done_before: int = 0) -> None:
        pass

    def expect(self, size_bytes: int) -> None:
        pass

    def advance(
        self,
        done: int = 1,
        detail: str = "",
        *,
        failed: bool = False,
        media_s: float = 0.0,
        size_bytes: int = 0,
    ) -> None:
        pass

    def finish(self) -> None:
        pass
