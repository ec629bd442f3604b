"""Output on the terminal: progress, notes, tables and errors.

Progress is a bar on a terminal and a line every ten seconds elsewhere. File names and labels are
untrusted: their control characters are escaped, never sent to the terminal.
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
    """Progress of one piece of work; speed and time left are those of this run alone.

    before: units done by an earlier run; media_s: seconds of recording processed.
    """

    what: str
    total: int
    before: int = 0
    expected_bytes: int = 0
    done: int = 0
    failed: int = 0
    media_s: float = 0.0
    bytes_done: int = 0
    detail: str = ""
    # monotonic: the clock may be set during a long run
    began_s: float = field(default_factory=time.monotonic)

    def line(self, now_s: float | None = None) -> str:
        """ "classifying: 120 of 400 files, 1.25 hours, 8.3 × real time, 3 failed, 4 min left"."""
        parts = [f"{self.what}: {self.before + self.done} of {self.total}"]
        return ", ".join([*parts, *self.facts(now_s)])

    def facts(self, now_s: float | None = None) -> list[str]:
        """Everything but the count, as parts of a line."""
        # avoids a division by zero at the start
        elapsed_s = max(1e-3, (time.monotonic() if now_s is None else now_s) - self.began_s)
        facts = []
        if self.media_s:
            facts.append(f"{_duration(self.media_s)} of recordings")
            facts.append(f"{self.media_s / elapsed_s:.1f} × real time")
        if self.failed:
            facts.append(f"{self.failed} failed")
        if self.detail:
            facts.append(self.detail)
        left_s = self._time_left_s(elapsed_s)
        if left_s is not None:
            facts.append(f"about {_duration(left_s)} left")
        return facts

    def _time_left_s(self, elapsed_s: float) -> float | None:
        to_do = self.total - self.before
        share = self.done / to_do if to_do else 1.0
        if self.expected_bytes:  # bytes predict the time better than the number of files
            share = self.bytes_done / self.expected_bytes
        if share >= 1 or share <= 0.01 or elapsed_s < 2:
            return None  # finished, or too early for an estimate
        return elapsed_s * (1 - share) / share


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5400:  # up to 90 minutes in minutes
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours"


_PLAIN_EVERY_S = 10.0  # a log should not grow with every clip
# control, format (direction overrides), bytes that are not UTF-8, line and paragraph separators
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# soft_wrap: lines that other programs read are not broken
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class ConsoleReporter:
    """A ProgressReporter with a bar on a terminal, and a line now and then in logs and pipes."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._state: ProgressState | None = None
        self._last_line_s = 0.0

    def note(self, text: str) -> None:
        # printed above the bar if one is shown
        (self._bar.console if self._bar else err).print(escape(visible(text)))

    def start(self, what: str, total: int, done_before: int = 0) -> None:
        self.finish()
        self._state = ProgressState(what, total, done_before)
        self._last_line_s = time.monotonic()
        if err.is_terminal and total:  # an empty bar would only flicker
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                console=err,
                transient=True,  # the bar vanishes; finish prints one plain line instead
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
            and state.before + state.done < state.total  # finish prints the last line
        ):
            self._print_line()

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._state is not None and self._state.total:
            self._print_line()
        self._state = None

    def _print_line(self) -> None:
        self._last_line_s = time.monotonic()
        if self._state is not None:
            err.print(escape(visible(self._state.line())))


def visible(text: str) -> str:
    """The text with control characters, direction marks and undecodable bytes escaped."""
    return "".join(c if _is_safe(c) else _escaped(c) for c in text)


def _is_safe(character: str) -> bool:
    # our own line breaks are wanted
    return character == "\n" or unicodedata.category(character) not in _UNSAFE


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def say(text: str, end: str = "\n") -> None:
    """Print a line of plain text on standard output."""
    out.print(visible(text), markup=False, end=end)  # […] in a file name is not markup


def print_table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """Print a table; all columns but the first are right-aligned."""
    shown = escape(visible(title)) or None
    table = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(escape(visible(name)), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))
    out.print(table)


def print_error(text: str) -> None:
    """Print an error on standard error."""
    err.print(f"[bold red]error:[/] {escape(visible(text))}")


def print_error_line(text: str) -> None:
    """Print a line on standard error that is not an error."""
    err.print(escape(visible(text)))
