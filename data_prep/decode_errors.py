"""What of a track could not be decoded, and where that lies among what could."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Losses:
    """Counts of pieces (packets, frames) that gave nothing true.

    Decoders commonly need a few pieces to begin (recordings cut out of a stream) and stumble over
    junk behind the end, so only what lies between good pieces is a loss for certain.
    """

    leading: int = 0
    middle: int = 0
    trailing: int = 0
    reason: str = ""
    """Of the first loss."""
    n_good: int = 0

    def good(self) -> None:
        """A piece was decoded."""
        if self.trailing:
            self.middle += self.trailing
            self.trailing = 0
        self.n_good += 1

    def lost(self, reason: str) -> None:
        """A piece gave nothing."""
        self.reason = self.reason or reason
        if self.n_good:
            self.trailing += 1
        else:
            self.leading += 1

    @property
    def share_good(self) -> float:
        """Of the pieces met, how many gave something true."""
        met = self.n_good + self.total
        return self.n_good / met if met else 1.0

    @property
    def total(self) -> int:
        return self.leading + self.middle + self.trailing
