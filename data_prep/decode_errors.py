"""What of a track could not be decoded, and where that lies among what could."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DecodeErrors:
    """Counts of pieces (packets, frames) that gave nothing true.

    Decoders commonly need a few pieces to begin (recordings cut out of a stream) and stumble over
    junk behind the end, so only what lies between good pieces is a loss for certain.
    """

    leading: int = 0
    middle: int = 0
    trailing: int = 0
    reason: str = ""
    """Of the first loss."""
    n_decoded: int = 0

    def record_success(self) -> None:
        """A piece was decoded."""
        if self.trailing:
            self.middle += self.trailing
            self.trailing = 0
        self.n_decoded += 1

    def record_error(self, reason: str) -> None:
        """A piece gave nothing."""
        self.reason = self.reason or reason
        if self.n_decoded:
            self.trailing += 1
        else:
            self.leading += 1

    @property
    def success_share(self) -> float:
        """Of the pieces met, how many gave something true."""
        met = self.n_decoded + self.total
        return self.n_decoded / met if met else 1.0

    @property
    def total(self) -> int:
        return self.leading + self.middle + self.trailing
