"""A stack of strided Conv1D layers that ends at exactly one vector per time step.

A waveform goes through a layer of wide filters first, which gives bands about every 10 ms.

With stride s, a layer's output j sums up inputs [j·s, (j+1)·s) and reaches equally far to both
sides: kernel k with k − s even and (k − s)/2 of padding at each end, so that length L becomes L/s
and output j is centred on its own inputs. The product of the strides is the front end's frames per
step; so T·product inputs become T vectors, vector t centred on step t.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from models.audio_front_end import as_float, mel_hop_samples
from models.band_statistics import band_statistics, moments
from models.filterbank import Filterbank
from models.projection import Projection
from models.settings import ModelSettings
from models.shapes import check_shape
from models.widths import N_BAND_STATISTICS

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
    of `models.band_statistics`, else mean, deviation and maximum. On a few hundred clips these are
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
    def settle(self, clips: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the scale of a pretrained front end's features, or of statistics of bands, from
        training clips: frames [T · frames_per_step, D] and bool [T], which steps have sound."""
        heard_frames = (
            self._banded(frames[None], heard[None])[0][heard.repeat_interleave(self.bands_per_step)]
            for frames, heard in clips
        )
        if self.narrow is not None:
            self.narrow.standardise.settle(heard_frames)
        elif isinstance(self.shortcut, BandStatistics):
            self.shortcut.settle(heard_frames, self.bands_per_step)

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

    def settle(self, clips: Iterable[Tensor], frames_per_step: int) -> None:
        """Take the scale from clips [T · frames_per_step, M]."""
        self.narrow.standardise.settle(
            band_statistics(frames.reshape(-1, frames_per_step, frames.shape[1]))
            for frames in clips
        )

    def forward(self, own: Tensor) -> Tensor:
        found = band_statistics(own.flatten(0, 1)).reshape(*own.shape[:2], -1)
        narrowed: Tensor = self.narrow(found)
        return narrowed
