"""What long work says while it runs. Only the command line prints; everything else calls this."""

from __future__ import annotations

from typing import Protocol


class ProgressReporter(Protocol):
    """Told about notes and progress; what it does with them is its own affair."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    def start(self, what: str, total: int, done_before: int = 0) -> None:
        """A piece of work of `total` units begins, some of them done by an earlier run."""

    def expect(self, size_bytes: int) -> None:
        """So many bytes of files are to be worked through: the better measure of time left."""

    def advance(
        self,
        done: int = 1,
        detail: str = "",
        *,
        failed: bool = False,
        media_s: float = 0.0,
        size_bytes: int = 0,
    ) -> None:
        """Some units are done, or some seconds of a recording; `detail` says how it stands."""

    def finish(self) -> None:
        """The piece of work is over."""


class SilentReporter:
    """Says nothing; for use from Python and in tests."""

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
