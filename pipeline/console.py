"""What people see: progress on a terminal, plain lines elsewhere, tables, errors."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_PLAIN_EVERY_S = 10.0

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class ConsoleReporter:
    """A Reporter that draws a bar on a terminal and writes a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what, self._total, self._done, self._detail = "", 0, 0, ""
        self._last_line_s = 0.0

    def note(self, text: str) -> None:
        (self._bar.console if self._bar else err).print(escape(text))

    def start(self, what: str, total: int) -> None:
        self.finish()
        self._what, self._total, self._done, self._detail = what, total, 0, ""
        self._last_line_s = time.monotonic()
        if err.is_terminal and total:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=err,
                transient=True,
            )
            self._task = self._bar.add_task(what, total=total, detail="")
            self._bar.start()

    def advance(self, done: int = 1, detail: str = "") -> None:
        self._done += done
        self._detail = detail
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=done, detail=escape(detail))
        elif time.monotonic() - self._last_line_s > _PLAIN_EVERY_S:
            self._line()

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._what and self._total:
            self._line()
        self._what = ""

    def _line(self) -> None:
        self._last_line_s = time.monotonic()
        detail = f" ({self._detail})" if self._detail else ""
        err.print(escape(f"{self._what}: {self._done} of {self._total}{detail}"))


def print_table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """A table; columns after the first are aligned to the right."""
    table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(escape(name), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def print_error(text: str) -> None:
    err.print(f"[bold red]error:[/] {escape(text)}")
