"""From the channels of a recording to one: what each counts for, and what a mix would hide.

A file that names its loudspeakers (a channel mask) is mixed as FFmpeg does, the low-frequency
effects left out. Without a mask channels are microphones, hydrophones, stereo pairs of a recorder,
and each counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray, Samples

AudioChannel = int | Literal["mix", "loudest"]

# FFmpeg's coefficients of a mono mix (libswresample, rematrix.c): the centre counts 1, the fronts
# 1/√2, whatever stands behind or above half.
_OF_SPEAKER = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "FLC": 0.7071, "FRC": 0.7071,
               "DL": 0.7071, "DR": 0.7071, "WL": 0.7071, "WR": 0.7071}  # fmt: skip
_OF_OTHERS = 0.5
_EFFECTS = frozenset({"LFE", "LFE2"})

_CANCELLED = 0.05  # of the energy that the mix of unrelated channels would have
_LARGEST = 1e12  # floats at the scale of 32-bit numbers are samples; what is beyond is none


def mix_weights(speakers: Sequence[str] | None, n_channels: int) -> FloatArray:
    """float64 [C] that sum to 1. speakers: FFmpeg's names of the channels, None without a mask."""
    weights = np.ones(n_channels)
    if speakers is not None and n_channels > 1:
        weights = np.array(
            [0.0 if name in _EFFECTS else _OF_SPEAKER.get(name, _OF_OTHERS) for name in speakers]
        )
        if not weights.any():  # effects alone
            weights = np.ones(n_channels)
    return np.asarray(weights / weights.sum(), np.float64)


@dataclass
class ChannelLevels:
    """Energies of the channels and of their mix, added up over blocks of sound."""

    of_channels: FloatArray = field(default_factory=lambda: np.zeros(0))
    of_mix: float = 0.0
    cancelled_samples: int = 0
    """Of blocks in which the mix holds far less than what the channels do."""

    def add(self, channels: Samples, weights: FloatArray) -> None:
        """channels: finite float32 [C, S]."""
        wide = channels.astype(np.float64)
        if self.of_channels.size != channels.shape[0]:
            self.of_channels, self.of_mix = np.zeros(channels.shape[0]), 0.0
        of_channels = np.square(wide).sum(axis=1)
        of_mix = float(np.square(weights @ wide).sum())
        if _cancel(of_channels, of_mix, weights):
            self.cancelled_samples += channels.shape[1]
        self.of_channels += of_channels
        self.of_mix += of_mix

    @property
    def loudest(self) -> int:
        """Index of the channel with the most energy, the first of equals."""
        return int(np.argmax(self.of_channels)) if self.of_channels.size else 0

    def cancel(self, weights: FloatArray) -> bool:
        """Whether the mix holds far less than what its channels do (stereo in opposite phase)."""
        return _cancel(self.of_channels, self.of_mix, weights)


def _cancel(of_channels: FloatArray, of_mix: float, weights: FloatArray) -> bool:
    if of_channels.size < 2 or not of_channels.any():
        return False
    return of_mix < _CANCELLED * float((np.square(weights) * of_channels).sum())


def only_channel(index: int, n_channels: int) -> FloatArray:
    """float64 [C]: one channel alone."""
    weights = np.zeros(n_channels)
    weights[index] = 1.0
    return weights


def mix_channels(channels: Samples, weights: FloatArray) -> tuple[Samples, BoolArray | None]:
    """(float32 [S], bool [S] where there is no number, None if there is one everywhere).

    channels float32 [C, S]. What is no number (NaN, infinity, far beyond any level) counts for
    nothing: the other channels carry the mix where they can, else it is silent.
    """
    if np.isfinite(channels).all() and np.abs(channels).max(initial=0.0) < _LARGEST:
        return (weights @ channels).astype(np.float32), None
    there = finite_mask(channels)
    usable = weights[:, None] * there
    total = usable.sum(axis=0)
    mono = (usable * np.where(there, channels, 0.0)).sum(axis=0)
    silent = total == 0
    mono = np.where(silent, 0.0, mono / np.where(silent, 1.0, total) * weights.sum())
    return mono.astype(np.float32), silent


def finite_only(channels: Samples) -> Samples:
    """The same with 0 where there is no number."""
    return np.where(finite_mask(channels), channels, np.float32(0.0)).astype(np.float32)


def finite_mask(channels: Samples) -> npt.NDArray[np.bool_]:
    """Whether each sample is one: neither NaN nor infinity, nor beyond any level."""
    with np.errstate(invalid="ignore"):
        return np.abs(channels) < _LARGEST
