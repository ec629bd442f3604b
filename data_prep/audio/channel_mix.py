"""Mix the channels of a recording to mono, and detect channels that cancel each other.

A file with a channel layout is mixed as FFmpeg does, without the low-frequency effects. Channels
without a layout are microphones, hydrophones or stereo pairs of a recorder; they get equal weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray, Samples

AudioChannel = int | Literal["mix", "loudest"]

# FFmpeg's coefficients of a mono mix (libswresample, rematrix.c): centre 1, front 1/√2, all others
# (side, back, top) 1/2.
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "FLC": 0.7071, "FRC": 0.7071,
               "DL": 0.7071, "DR": 0.7071, "WL": 0.7071, "WR": 0.7071}  # fmt: skip
_OTHER_WEIGHT = 0.5
_EFFECTS = frozenset({"LFE", "LFE2"})

_CANCELLED = 0.05  # of the energy that the mix of unrelated channels would have
_LARGEST = 1e12  # some files hold floats at the scale of int32; larger values are not samples


def mix_weights(speakers: Sequence[str] | None, n_channels: int) -> FloatArray:
    """float64 [C] with sum 1. speakers: FFmpeg's channel names, None without a channel layout."""
    weights = np.ones(n_channels)
    if speakers is not None and n_channels > 1:
        weights = np.array(
            [0.0 if name in _EFFECTS else _WEIGHTS.get(name, _OTHER_WEIGHT) for name in speakers]
        )
        if not weights.any():  # nothing but LFE channels
            weights = np.ones(n_channels)
    return np.asarray(weights / weights.sum(), np.float64)


@dataclass
class ChannelLevels:
    """Energies of the channels and of their mix, accumulated over blocks of audio."""

    of_channels: FloatArray = field(default_factory=lambda: np.zeros(0))
    of_mix: float = 0.0
    cancelled_samples: int = 0
    """Samples in blocks whose mix has far less energy than the channels."""

    def add(self, channels: Samples, weights: FloatArray) -> None:
        """Add a block. channels: finite float32 [C, S]; weights: [C]."""
        wide = channels.astype(np.float64)
        if self.of_channels.size != channels.shape[0]:  # the channel count may change in a file
            self.of_channels, self.of_mix = np.zeros(channels.shape[0]), 0.0
        of_channels = np.square(wide).sum(axis=1)
        of_mix = float(np.square(weights @ wide).sum())
        if _cancel(of_channels, of_mix, weights):
            self.cancelled_samples += channels.shape[1]
        self.of_channels += of_channels
        self.of_mix += of_mix

    @property
    def loudest(self) -> int:
        """Index of the channel with the most energy; the first one on a tie."""
        return int(np.argmax(self.of_channels)) if self.of_channels.size else 0

    def cancel(self, weights: FloatArray) -> bool:
        """Whether the mix has far less energy than its channels (stereo in opposite phase)."""
        return _cancel(self.of_channels, self.of_mix, weights)


def _cancel(of_channels: FloatArray, of_mix: float, weights: FloatArray) -> bool:
    if of_channels.size < 2 or not of_channels.any():
        return False
    return of_mix < _CANCELLED * float((np.square(weights) * of_channels).sum())


def only_channel(index: int, n_channels: int) -> FloatArray:
    """float64 [C]: weight 1 for one channel, 0 for the others."""
    weights = np.zeros(n_channels)
    weights[index] = 1.0
    return weights


def mix_channels(channels: Samples, weights: FloatArray) -> tuple[Samples, BoolArray | None]:
    """(float32 [S] mix, bool [S] where no weighted channel is finite, or None if all samples are).

    channels: float32 [C, S]. Non-finite samples (NaN, infinity, 1e12 and above) get weight 0; the
    other channels are scaled up in their place, and without any the mix is 0.
    """
    if np.isfinite(channels).all() and np.abs(channels).max(initial=0.0) < _LARGEST:
        return (weights @ channels).astype(np.float32), None
    finite = finite_mask(channels)
    usable = weights[:, None] * finite
    total = usable.sum(axis=0)
    mono = (usable * np.where(finite, channels, 0.0)).sum(axis=0)
    silent = total == 0
    mono = np.where(silent, 0.0, mono / np.where(silent, 1.0, total) * weights.sum())
    return mono.astype(np.float32), silent


def finite_only(channels: Samples) -> Samples:
    """The same [C, S] with 0 for non-finite samples."""
    return np.where(finite_mask(channels), channels, np.float32(0.0)).astype(np.float32)


def finite_mask(channels: Samples) -> npt.NDArray[np.bool_]:
    """bool, same shape: samples that are neither NaN nor infinite nor 1e12 and above."""
    with np.errstate(invalid="ignore"):
        # NaN compares as False
        return np.abs(channels) < _LARGEST
