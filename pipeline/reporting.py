"""What long work says while it runs. Only the command line prints; everything else calls this."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Told about notes and progress; what it does with them is its own affair."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    def start(self, what: str, total: int) -> None:
        """A piece of work of `total` units begins."""

    def advance(self, done: int = 1, detail: str = "") -> None:
        """Some units are done; `detail` says how it stands."""

    def finish(self) -> None:
        """The piece of work is over."""


class Silent:
    """Says nothing; for use from Python and in tests."""

    def note(self, text: str) -> None:
        pass

    def start(self, what: str, total: int) -> None:
        pass

    def advance(self, done: int = 1, detail: str = "") -> None:
        pass

    def finish(self) -> None:
        pass
