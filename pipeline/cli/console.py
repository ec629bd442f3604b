"""How far a piece of work is, how fast, and how long it may still take, in words.

What people see: progress on a terminal, plain lines elsewhere, tables, errors.

Names of files and labels are data: control characters in them are written out, never sent to the
terminal.
"""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table


@dataclass
class ProgressState:
    """Counts of one piece of work. Speed and time left come from this run's own work."""

    what: str
    total: int
    before: int = 0
    expected_bytes: int = 0
    done: int = 0
    failed: int = 0
    media_s: float = 0.0
    bytes_done: int = 0
    detail: str = ""
    began_s: float = field(default_factory=time.monotonic)

    def line(self, now_s: float | None = None) -> str:
        """ "classifying: 120 of 400 files, 1.25 hours, 8.3 × real time, 3 failed, 4 min left"."""
        parts = [f"{self.what}: {self.before + self.done} of {self.total}"]
        return ", ".join([*parts, *self.facts(now_s)])

    def facts(self, now_s: float | None = None) -> list[str]:
        elapsed_s = max(1e-3, (time.monotonic() if now_s is None else now_s) - self.began_s)
        facts = []
        if self.media_s:
            facts.append(f"{_length(self.media_s)} of recordings")
            facts.append(f"{self.media_s / elapsed_s:.1f} × real time")
        if self.failed:
            facts.append(f"{self.failed} failed")
        if self.detail:
            facts.append(self.detail)
        left_s = self._left_s(elapsed_s)
        if left_s is not None:
            facts.append(f"about {_length(left_s)} left")
        return facts

    def _left_s(self, elapsed_s: float) -> float | None:
        todo = self.total - self.before
        share = self.done / todo if todo else 1.0
        if self.expected_bytes:
            share = self.bytes_done / self.expected_bytes
        if share >= 1 or share <= 0.01 or elapsed_s < 2:
            return None  # nothing left, or too early to say
        return elapsed_s * (1 - share) / share


def _length(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours"


_PLAIN_EVERY_S = 10.0
# control, format (direction overrides), stray bytes of names, line and paragraph separators
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class ConsoleReporter:
    """A Reporter that draws a bar on a terminal and writes a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._state: ProgressState | None = None
        self._last_line_s = 0.0

    def note(self, text: str) -> None:
        (self._bar.console if self._bar else err).print(escape(visible(text)))

    def start(self, what: str, total: int, done_before: int = 0) -> None:
        self.finish()
        self._state = ProgressState(what, total, done_before)
        self._last_line_s = time.monotonic()
        if err.is_terminal and total:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                console=err,
                transient=True,
            )
            self._task = self._bar.add_task(what, total=total, completed=done_before, detail="")
            self._bar.start()

    def expect(self, size_bytes: int) -> None:
        if self._state is not None:
            self._state.expected_bytes = size_bytes

    def advance(
        self,
        done: int = 1,
        detail: str = "",
        *,
        failed: bool = False,
        media_s: float = 0.0,
        size_bytes: int = 0,
    ) -> None:
        state = self._state
        if state is None:
            return
        state.done += done
        state.failed += failed
        state.media_s += media_s
        state.bytes_done += size_bytes
        state.detail = detail
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, advance=done, detail=escape(visible(", ".join(state.facts())))
            )
        elif (
            time.monotonic() - self._last_line_s > _PLAIN_EVERY_S
            and state.before + state.done < state.total  # the last line is said at the end
        ):
            self._line()

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._state is not None and self._state.total:
            self._line()
        self._state = None

    def _line(self) -> None:
        self._last_line_s = time.monotonic()
        if self._state is not None:
            err.print(escape(visible(self._state.line())))


def visible(text: str) -> str:
    """The text with control characters, direction marks and stray bytes written out."""
    return "".join(c if _harmless(c) else _written_out(c) for c in text)


def _harmless(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in _UNSAFE


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def say(text: str, end: str = "\n") -> None:
    """One line of plain text on standard output."""
    out.print(visible(text), markup=False, end=end)


def print_table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """A table; columns after the first are aligned to the right."""
    shown = escape(visible(title)) or None
    table = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(escape(visible(name)), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))
    out.print(table)


def print_error(text: str) -> None:
    err.print(f"[bold red]error:[/] {escape(visible(text))}")


def print_error_line(text: str) -> None:
    """A line on standard error that is no error."""
    err.print(escape(visible(text)))
