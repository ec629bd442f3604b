"""Learned bands of a waveform: the first strided Conv1D of the waveform front end.

From some hundred clips a network does not learn to hear from samples: it has to be told where to
begin. The first layer's filters therefore start as waves of the mel scale's frequencies and widths,
in pairs a quarter period apart, whose squares add up to the power of the band; smoothed and in
logarithms these are nearly log-mel bands, and all of the filters go on learning (after Zeghidour
et al., 2021: LEAF, a Learnable Frontend for Audio Classification).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.audio_front_end import log_power
from models.shapes import check_shape

_LOWEST_HZ = 60.0
_HIGHEST = 0.95  # of half the sample rate
_KERNEL_S = 0.025
_FILTER_HOP_S = 0.002  # short enough for the envelopes of the widest bands
# Standard deviation in time of the narrowest bands: the kernel must hold them.
_LONGEST_S = 0.005
# Power of white noise of variance 1 in a band; about that of the log-mel front end at 16 kHz.
_NOISE_GAIN = 5.0


class Filterbank(nn.Module):
    """Samples in ±1 [B, S, 1] → log power of bands [B, S / hop, n_bands].

    Frame m is centred on samples [m, m + 1) · hop; past the ends there is silence. Raises
    ValueError where S is no multiple of hop.
    """

    def __init__(
        self,
        n_bands: int,
        audio_rate_hz: int,
        hop: int,
        edges_hz: tuple[float, float] | None = None,
    ) -> None:
        """edges_hz: lowest and highest frequency of the bands that it begins with."""
        super().__init__()
        self.hop = hop
        stride = _nearest_part(hop, _FILTER_HOP_S * audio_rate_hz)
        kernel = max(round(_KERNEL_S * audio_rate_hz), 2 * stride)
        kernel += (kernel - stride) % 2  # the padding is the same on both sides
        self.filters = nn.Conv1d(1, 2 * n_bands, kernel, stride, bias=False)
        with torch.no_grad():
            begin = torch.from_numpy(mel_waves(n_bands, audio_rate_hz, kernel, edges_hz))
            self.filters.weight.copy_(begin[:, None])
        per_hop = hop // stride
        width = 2 * per_hop - per_hop % 2
        self.smooth = nn.AvgPool1d(width, per_hop)
        self.reach = (kernel - stride) // 2 + (width - per_hop) // 2 * stride
        """Samples before and after its own hop that a frame depends on."""

    def forward(self, samples: Tensor) -> Tensor:
        check_shape("waveform", samples, ("B", "S", 1))
        if samples.shape[1] % self.hop:
            raise ValueError(f"waveform must be whole hops of {self.hop}, got {samples.shape[1]}")
        padded = nn.functional.pad(samples.float().transpose(1, 2), (self.reach, self.reach))
        waves = self.filters(padded)  # [B, 2 · n_bands, L]
        cosines, sines = waves.square().chunk(2, dim=1)
        power = self.smooth(cosines + sines)  # [B, n_bands, S / hop]
        bands = log_power(power).transpose(1, 2)
        check_shape("bands", bands, ("B", samples.shape[1] // self.hop, "M"))
        return bands


def mel_waves(
    n_bands: int, audio_rate_hz: int, kernel: int, edges_hz: tuple[float, float] | None = None
) -> npt.NDArray[np.float32]:
    """[2 · n_bands, kernel]: cosines, then sines, each under a bell curve.

    Bands are even on the mel scale (O'Shaughnessy's formula). A bell curve of standard deviation s
    in time passes half the power over a width of √(ln 2) / (π s).
    """
    low_hz, high_hz = edges_hz or (_LOWEST_HZ, audio_rate_hz / 2)
    low_hz, high_hz = max(low_hz, _LOWEST_HZ), min(high_hz, _HIGHEST * audio_rate_hz / 2)
    edges_mel = np.linspace(_mel(low_hz), _mel(high_hz), n_bands + 2)
    bands_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    width_hz = (bands_hz[2:] - bands_hz[:-2]) / 2
    deviation_s = np.minimum(math.sqrt(math.log(2)) / (math.pi * width_hz), _LONGEST_S)
    time_s = (np.arange(kernel) - (kernel - 1) / 2) / audio_rate_hz
    bell = np.exp(-((time_s / deviation_s[:, None]) ** 2) / 2)
    angles = 2 * math.pi * bands_hz[1:-1, None] * time_s
    waves = np.stack([bell * np.cos(angles), bell * np.sin(angles)])  # [2, n_bands, kernel]
    energy = (waves**2).sum(axis=(0, 2), keepdims=True)
    scaled: npt.NDArray[np.float64] = waves * np.sqrt(_NOISE_GAIN / energy)
    return scaled.reshape(2 * n_bands, kernel).astype(np.float32)


def _mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def _nearest_part(whole: int, wanted: float) -> int:
    """The divisor of `whole` whose ratio to `wanted` is nearest to 1."""
    divisors = (n for n in range(1, whole + 1) if whole % n == 0)
    return min(divisors, key=lambda n: abs(math.log(n / wanted)))
