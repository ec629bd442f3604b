"""Counts of packets or frames of a track that could not be decoded, by position."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DecodeErrors:
    """Decoding errors before, between and after the units (packets or frames) that decoded.

    Decoders commonly fail on the first units (recordings cut out of a stream) and on garbage after
    the end, so only errors between decoded units are certainly losses.
    """

    leading: int = 0
    middle: int = 0
    trailing: int = 0
    reason: str = ""  # of the first error
    n_decoded: int = 0

    def record_success(self) -> None:
        """A unit was decoded."""
        if self.trailing:
            self.middle += self.trailing  # so the errors before it were not at the end
            self.trailing = 0
        self.n_decoded += 1

    def record_error(self, reason: str) -> None:
        """A unit could not be decoded."""
        self.reason = self.reason or reason
        if self.n_decoded:
            self.trailing += 1
        else:
            self.leading += 1

    @property
    def success_share(self) -> float:
        """Fraction of the units that decoded; 1 without any unit."""
        n_units = self.n_decoded + self.total
        return self.n_decoded / n_units if n_units else 1.0

    @property
    def total(self) -> int:
        """Number of errors."""
        return self.leading + self.middle + self.trailing
