"""How far a piece of work is, how fast, and how long it may still take, in words."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


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
