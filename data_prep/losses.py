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
    _began: bool = False

    def good(self) -> None:
        """A piece was decoded."""
        if self.trailing:
            self.middle += self.trailing
            self.trailing = 0
        self._began = True

    def lost(self, reason: str) -> None:
        """A piece gave nothing."""
        self.reason = self.reason or reason
        if self._began:
            self.trailing += 1
        else:
            self.leading += 1

    @property
    def total(self) -> int:
        return self.leading + self.middle + self.trailing
