"""A stack of strided Conv1D layers that ends at exactly one vector per time step.

A waveform goes through a layer of wide filters first, which gives bands about every 10 ms.

With stride s, a layer's output j sums up inputs [j·s, (j+1)·s) and reaches equally far to both
sides: kernel k with k − s even and (k − s)/2 of padding at each end, so that length L becomes L/s
and output j is centred on its own inputs. The product of the strides is the front end's frames per
step; so T·product inputs become T vectors, vector t centred on step t.

Learned bands of a waveform: the first strided Conv1D of the waveform front end.

From some hundred clips a network does not learn to hear from samples: it has to be told where to
begin. The first layer's filters therefore start as waves of the mel scale's frequencies and widths,
in pairs a quarter period apart, whose squares add up to the power of the band; smoothed and in
logarithms these are nearly log-mel bands, and all of the filters go on learning (after Zeghidour
et al., 2021: LEAF, a Learnable Frontend for Audio Classification).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.audio.front_end import as_float, band_statistics, log_power, mel_hop_samples, moments
from models.modality_branches import Projection
from models.settings import N_BAND_STATISTICS, ModelSettings
from models.shapes import check_shape

_LARGEST_PRIME = 19


def factorise_strides(frames_per_step: int) -> tuple[int, ...]:
    """Strides of at most 5, or larger primes up to 19, whose product is frames_per_step.

    Large strides come first. Raises ValueError where a prime factor is too large for a layer.
    """
    if frames_per_step < 1:
        raise ValueError(f"frames_per_step must be at least 1, got {frames_per_step}")
    primes, rest, factor = [], frames_per_step, 2
    while rest > 1:
        while rest % factor == 0:
            primes.append(factor)
            rest //= factor
        factor += 1
        if factor > _LARGEST_PRIME and rest > 1:
            raise ValueError(
                f"{frames_per_step} moments of sound per time step cannot be brought to one by "
                f"strides: the factor {rest} is too large; choose other values of "
                "clip.audio_rate_hz, clip.frame_rate_hz or model.mel_hop_ms"
            )
    strides: list[int] = []
    for prime in sorted(primes, reverse=True):
        for index, stride in enumerate(strides):
            if stride * prime <= 5 or (prime == 2 and stride == 2):
                strides[index] = stride * prime
                break
        else:
            strides.append(prime)
    return tuple(sorted(strides, reverse=True)) or (1,)


def resolve_strides(settings: ModelSettings, frames_per_step: int) -> tuple[int, ...]:
    """The configured strides if their product fits, else the factorised ones. Raises ValueError."""
    if settings.audio_strides is None:
        return factorise_strides(frames_per_step)
    if prod(settings.audio_strides) != frames_per_step:
        raise ValueError(
            f"model.audio_strides={list(settings.audio_strides)} multiply to "
            f"{prod(settings.audio_strides)}, but clip.audio_rate_hz, clip.frame_rate_hz, "
            f"model.audio_front_end and model.mel_hop_ms give {frames_per_step} frames per time "
            f"step; null chooses {list(factorise_strides(frames_per_step))}"
        )
    return settings.audio_strides


def kernel_size(stride: int) -> int:
    """Taps of a layer: about twice its stride, so that kernels overlap by half."""
    return 3 if stride == 1 else 2 * stride - stride % 2


def reach_frames(strides: tuple[int, ...]) -> int:
    """Front-end frames before and after its own step that a vector depends on."""
    reach, scale = 0, 1
    for stride in strides:
        reach += (kernel_size(stride) - stride) // 2 * scale
        scale *= stride
    return reach


class StridedConv(nn.Module):
    """Conv1D, norm over channels, GELU; padding is masked to zero again at the end.

    The norm takes its statistics over the channels of one time step only, so neither time nor
    neighbours in a batch matter.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        kernel = kernel_size(stride)
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, padding=(kernel - stride) // 2)
        self.norm = nn.LayerNorm(n_out)
        self.activation = nn.GELU()
        self._init_centred(kernel)

    def _init_centred(self, kernel: int) -> None:
        """Random weights under a Hann window over the taps (same variance on the whole).

        With equal taps a fresh encoder answers an event in step t as strongly in t ± 1, whose
        kernels overlap it; under the window each vector starts out about its own step.
        """
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.normal_(self.conv.bias, std=0.1)  # type: ignore[arg-type]
        taps = [math.sin(math.pi * (k + 0.5) / kernel) ** 2 for k in range(kernel)]
        level = math.sqrt(sum(tap**2 for tap in taps) / kernel)
        with torch.no_grad():
            self.conv.weight.mul_(self.conv.weight.new_tensor([tap / level for tap in taps]))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, D, L] and bool mask [B, L / stride] → [B, D', L / stride]."""
        y: Tensor = self.conv(x)
        check_shape("strided conv", y, (x.shape[0], "D", x.shape[2] // self.stride))
        y = self.activation(self.norm(y.transpose(1, 2))).transpose(1, 2)
        return y * mask[:, None, :]


class AudioEncoder(nn.Module):
    """Front-end frames [B, M, D] → [B, T, n_features], M = T · frames_per_step.

    Beside the convolutions a shortcut gives each step statistics of its own frames: of bands those
    of `models.audio.front_end`, else mean, deviation and maximum. On a few hundred clips these are
    hard to learn and worth ten points.
    """

    def __init__(
        self, settings: ModelSettings, n_bands: int, frames_per_step: int, audio_rate_hz: int
    ) -> None:
        super().__init__()
        self.frames_per_step = frames_per_step
        self.n_bands = n_bands
        self.n_features = settings.audio_features
        width, hop, reach = n_bands, 1, 0
        self.filterbank: Filterbank | None = None
        self.narrow: Projection | None = None
        if settings.audio_front_end == "waveform":
            hop = mel_hop_samples(settings.mel_hop_ms, audio_rate_hz, frames_per_step)
            self.filterbank = Filterbank(
                settings.mel_bins, audio_rate_hz, hop, settings.band_edges_hz(audio_rate_hz)
            )
            width, reach = settings.mel_bins, self.filterbank.reach
        elif settings.audio_front_end == "pretrained":
            # features of another network are brought to a scale and narrowed first
            width = settings.audio_features
            self.narrow = Projection(n_bands, width, settings.dropout)
        self.bands_per_step = frames_per_step // hop
        self.strides = resolve_strides(settings, self.bands_per_step)
        self.reach_frames = reach + hop * reach_frames(self.strides)
        self.shortcut = _shortcut(settings, width)
        layers: list[StridedConv] = []
        for stride in self.strides:
            layers.append(StridedConv(width, settings.audio_channels, stride))
            width = settings.audio_channels
        self.layers = nn.ModuleList(layers)
        self.project = nn.Linear(width, settings.audio_features)

    @torch.no_grad()
    def fit_statistics(self, clips: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the scale of a pretrained front end's features, or of statistics of bands, from
        training clips: frames [T · frames_per_step, D] and bool [T], which steps have sound."""
        heard_frames = (
            self._banded(frames[None], heard[None])[0][heard.repeat_interleave(self.bands_per_step)]
            for frames, heard in clips
        )
        if self.narrow is not None:
            self.narrow.standardise.fit_statistics(heard_frames)
        elif isinstance(self.shortcut, BandStatistics):
            self.shortcut.fit_statistics(heard_frames, self.bands_per_step)

    def _banded(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames [B, M, D] as they are; samples made bands of, where steps without sound (bool
        [B, T]) are silent."""
        if self.filterbank is None:
            return frames
        heard = mask.repeat_interleave(self.frames_per_step, 1)[:, :, None]
        bands: Tensor = self.filterbank(as_float(frames) * heard)
        return bands

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames [B, M, D]; mask bool [B, T], true where the step has sound → [B, T, D'].

        Steps without sound come out as zero and give nothing to their neighbours.
        """
        check_shape("mask", mask, ("B", "T"))
        batch, steps = mask.shape
        check_shape("front end", frames, (batch, steps * self.frames_per_step, self.n_bands))
        per_step = self.bands_per_step
        frames = self._banded(frames, mask)
        if self.narrow is not None:
            frames = self.narrow(frames)
        x = (frames * mask.repeat_interleave(per_step, 1)[:, :, None]).transpose(1, 2)  # [B, D, M]
        for stride, layer in zip(self.strides, self.layers, strict=True):
            per_step //= stride
            x = layer(x, mask.repeat_interleave(per_step, 1))  # [B, D, T · per_step]
        own = frames.reshape(batch, steps, self.bands_per_step, frames.shape[2])
        y: Tensor = self.project(x.transpose(1, 2)) + self.shortcut(own)
        y = y * mask[:, :, None]  # [B, T, D']
        check_shape("audio features", y, (batch, steps, self.n_features))
        return y


def _shortcut(settings: ModelSettings, n_in: int) -> BandStatistics | PlainStatistics:
    if settings.audio_front_end == "pretrained":
        return PlainStatistics(n_in, settings.audio_features)
    return BandStatistics(n_in, settings.audio_features, settings.dropout)


class PlainStatistics(nn.Module):
    """Front-end frames of each step [B, T, F, D] → [B, T, n_out], from mean, deviation, maximum."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * n_in, n_out)

    def forward(self, own: Tensor) -> Tensor:
        found: Tensor = self.layer(torch.cat([*moments(own, 2), own.amax(dim=2)], dim=-1))
        return found


class BandStatistics(nn.Module):
    """Log power of each step [B, T, F, M] → [B, T, n_out]: statistics, narrowed."""

    def __init__(self, n_bands: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.narrow = Projection(N_BAND_STATISTICS * n_bands, n_out, dropout)

    def fit_statistics(self, clips: Iterable[Tensor], frames_per_step: int) -> None:
        """Take the scale from clips [T · frames_per_step, M]."""
        self.narrow.standardise.fit_statistics(
            band_statistics(frames.reshape(-1, frames_per_step, frames.shape[1]))
            for frames in clips
        )

    def forward(self, own: Tensor) -> Tensor:
        found = band_statistics(own.flatten(0, 1)).reshape(*own.shape[:2], -1)
        narrowed: Tensor = self.narrow(found)
        return narrowed


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
