"""Audio encoder: a strided Conv1D stack from front-end frames to one vector per time step.

With stride s, output j of a layer is centred on its own inputs [j·s, (j+1)·s) and its receptive
field extends equally far to both sides: a kernel of k taps with k − s even, and (k − s)/2 padding
at each end, so that length L becomes L/s. The product of the strides is the number of front-end
frames per step; T·product inputs become T vectors, vector t centred on step t.

A waveform first passes a learned filterbank, which gives bands about every 10 ms. A few hundred
clips are too few to learn such filters from random weights, so they are initialised as Gabor
filters with the centre frequencies and bandwidths of the mel scale, in quadrature pairs whose
squares add up to the power of the band. Smoothed and in logarithms these are close to log-mel
bands; all filters are trained further (after Zeghidour et al., 2021: LEAF, a Learnable Frontend for
Audio Classification).
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

_LARGEST_PRIME = 19  # each prime factor is the stride of one layer


def factorise_strides(frames_per_step: int) -> tuple[int, ...]:
    """Factorise frames_per_step into strides of at most 5, or larger primes up to 19.

    Strides are in descending order. Raises ValueError if a prime factor is larger than 19.
    """
    if frames_per_step < 1:
        raise ValueError(f"frames_per_step must be at least 1, got {frames_per_step}")
    primes, remainder, factor = [], frames_per_step, 2
    while remainder > 1:
        while remainder % factor == 0:
            primes.append(factor)
            remainder //= factor
        factor += 1
        if factor > _LARGEST_PRIME and remainder > 1:
            raise ValueError(
                f"{frames_per_step} audio frames per time step do not factorise into strides of "
                f"at most {_LARGEST_PRIME} (factor left: {remainder}); choose other values of "
                "clip.audio_rate_hz, clip.frame_rate_hz or model.mel_hop_ms"
            )
    strides: list[int] = []
    for prime in sorted(primes, reverse=True):
        for index, stride in enumerate(strides):
            if stride * prime <= 5 or (prime == 2 and stride == 2):  # merges 2 · 2 alone
                strides[index] = stride * prime
                break
        else:
            strides.append(prime)
    return tuple(sorted(strides, reverse=True)) or (1,)  # one frame per step: still one layer


def resolve_strides(settings: ModelSettings, frames_per_step: int) -> tuple[int, ...]:
    """The configured strides, or the factorised ones if none are configured.

    Raises ValueError if the product of the configured strides is not frames_per_step.
    """
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
    """Kernel size of a layer in taps: about twice its stride, so that kernels overlap by half."""
    return 3 if stride == 1 else 2 * stride - stride % 2  # same parity as the stride: centred


def reach_frames(strides: tuple[int, ...]) -> int:
    """Receptive field beyond a vector's own step, to either side, in front-end frames.

    Twice as many before the step, and none after it, in a causal stack.
    """
    reach, scale = 0, 1  # scale: front-end frames per input of the layer
    for stride in strides:
        reach += (kernel_size(stride) - stride) // 2 * scale
        scale *= stride
    return reach


class StridedConv(nn.Module):
    """Strided Conv1D, LayerNorm over channels, GELU; masked steps are zero in the output.

    The statistics of the norm are those of one time step, so a clip's output depends neither on its
    length nor on the other clips in the batch. causal: output j does not depend on inputs after its
    own, [j·s, (j+1)·s).
    """

    def __init__(self, n_in: int, n_out: int, stride: int, causal: bool = False) -> None:
        super().__init__()
        self.stride = stride
        kernel = kernel_size(stride)
        self.before = kernel - stride if causal else 0
        padding = 0 if causal else (kernel - stride) // 2
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, padding=padding)
        self.norm = nn.LayerNorm(n_out)
        self.activation = nn.GELU()
        self._init_centred(kernel)

    def _init_centred(self, kernel: int) -> None:
        """Kaiming initialisation times a Hann window over the taps, at the same variance."""
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.normal_(self.conv.bias, std=0.1)  # type: ignore[arg-type]
        # kernels overlap: with equal taps an event in step t would excite t ± 1 just as strongly
        window = [math.sin(math.pi * (k + 0.5) / kernel) ** 2 for k in range(kernel)]
        rms = math.sqrt(sum(tap**2 for tap in window) / kernel)
        with torch.no_grad():
            self.conv.weight.mul_(self.conv.weight.new_tensor([tap / rms for tap in window]))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, D, L], mask bool [B, L / stride] → [B, D', L / stride]."""
        if self.before:
            x = nn.functional.pad(x, (self.before, 0))
        y: Tensor = self.conv(x)  # [B, D', L / stride]
        check_shape("strided conv", y, (x.shape[0], "D", mask.shape[1]))
        y = self.activation(self.norm(y.transpose(1, 2))).transpose(1, 2)
        return y * mask[:, None, :]  # the next layer's padding is zero, so masked steps must be too


class AudioEncoder(nn.Module):
    """Front-end frames [B, M, D] → [B, T, n_features], M = T · frames_per_step.

    In parallel with the convolutions, a shortcut gives each step statistics of its own frames: for
    bands those of `models.audio.front_end`, otherwise mean, standard deviation and maximum. A few
    hundred clips are too few to learn these, and they are worth ten points of accuracy.
    """

    def __init__(
        self,
        settings: ModelSettings,
        n_bands: int,
        frames_per_step: int,
        audio_rate_hz: int,
        causal: bool = False,
    ) -> None:
        """causal: no step depends on frames of later steps."""
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
                settings.mel_bins, audio_rate_hz, hop, settings.band_edges_hz(audio_rate_hz),
                causal,
            )  # fmt: skip
            width, reach = settings.mel_bins, self.filterbank.reach
        elif settings.audio_front_end == "pretrained":
            width = settings.audio_features  # far fewer than the CNN's: projected first
            self.narrow = Projection(n_bands, width, settings.dropout)
        self.bands_per_step = frames_per_step // hop  # the filterbank's own stride is one hop
        self.strides = resolve_strides(settings, self.bands_per_step)
        # in front-end frames, which are samples for the waveform
        own_reach = hop * reach_frames(self.strides)
        self.reach_frames = reach + (2 * own_reach if causal else own_reach)
        self.shortcut = _build_shortcut(settings, width)
        layers: list[StridedConv] = []
        for stride in self.strides:
            layers.append(StridedConv(width, settings.audio_channels, stride, causal))
            width = settings.audio_channels
        self.layers = nn.ModuleList(layers)
        self.project = nn.Linear(width, settings.audio_features)

    @torch.no_grad()
    def fit_statistics(self, clips: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Fit the standardisation of pretrained features, or of band statistics.

        clips: pairs of frames [T · frames_per_step, D] and audio mask bool [T], of the training
        clips. Steps without sound are left out.
        """
        valid_frames = (
            self._to_bands(frames[None], mask[None])[0][mask.repeat_interleave(self.bands_per_step)]
            for frames, mask in clips
        )
        if self.narrow is not None:
            self.narrow.standardise.fit_statistics(valid_frames)
        elif isinstance(self.shortcut, BandStatistics):
            self.shortcut.fit_statistics(valid_frames, self.bands_per_step)

    def _to_bands(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Bands of the waveform [B, S, 1]; frames of other front ends [B, M, D] unchanged."""
        if self.filterbank is None:
            return frames
        sample_mask = mask.repeat_interleave(self.frames_per_step, 1)[:, :, None]  # [B, S, 1]
        # silence in masked steps, since the filters reach into neighbouring steps
        bands: Tensor = self.filterbank(as_float(frames) * sample_mask)  # [B, S / hop, D]
        return bands

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames [B, M, D]; mask bool [B, T], true where the step has sound → [B, T, D'].

        Steps without sound are zero in the output and do not affect their neighbours.
        Raises ValueError for other shapes.
        """
        check_shape("mask", mask, ("B", "T"))
        batch, steps = mask.shape
        check_shape("front end", frames, (batch, steps * self.frames_per_step, self.n_bands))
        per_step = self.bands_per_step
        frames = self._to_bands(frames, mask)  # [B, T · bands_per_step, D]
        if self.narrow is not None:
            frames = self.narrow(frames)  # [B, M, audio_features]
        x = (frames * mask.repeat_interleave(per_step, 1)[:, :, None]).transpose(1, 2)  # [B, D, M]
        for stride, layer in zip(self.strides, self.layers, strict=True):
            per_step //= stride
            x = layer(x, mask.repeat_interleave(per_step, 1))  # [B, D, T · per_step]
        own_frames = frames.reshape(batch, steps, self.bands_per_step, frames.shape[2])
        y: Tensor = self.project(x.transpose(1, 2)) + self.shortcut(own_frames)  # [B, T, D']
        y = y * mask[:, :, None]  # the bias of the projection is not zero
        check_shape("audio features", y, (batch, steps, self.n_features))
        return y


def _build_shortcut(settings: ModelSettings, n_in: int) -> BandStatistics | PlainStatistics:
    if settings.audio_front_end == "pretrained":
        return PlainStatistics(n_in, settings.audio_features)
    return BandStatistics(n_in, settings.audio_features, settings.dropout)


class PlainStatistics(nn.Module):
    """Mean, standard deviation and maximum of each step's frames: [B, T, F, D] → [B, T, n_out]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * n_in, n_out)

    def forward(self, own: Tensor) -> Tensor:
        features: Tensor = self.layer(torch.cat([*moments(own, 2), own.amax(dim=2)], dim=-1))
        return features


class BandStatistics(nn.Module):
    """Band statistics of each step, projected: log power [B, T, F, M] → [B, T, n_out]."""

    def __init__(self, n_bands: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.narrow = Projection(N_BAND_STATISTICS * n_bands, n_out, dropout)

    def fit_statistics(self, clips: Iterable[Tensor], frames_per_step: int) -> None:
        """Fit the standardisation of the statistics on clips [T · frames_per_step, M]."""
        self.narrow.standardise.fit_statistics(
            band_statistics(frames.reshape(-1, frames_per_step, frames.shape[1]))
            for frames in clips
        )

    def forward(self, own: Tensor) -> Tensor:
        # [B, T, N_BAND_STATISTICS · M]
        statistics = band_statistics(own.flatten(0, 1)).reshape(*own.shape[:2], -1)
        projected: Tensor = self.narrow(statistics)  # [B, T, n_out]
        return projected


_LOWEST_HZ = 60.0
_HIGHEST_SHARE = 0.95  # of the Nyquist frequency
_KERNEL_S = 0.025  # the window length of the log-mel front end
_FILTER_HOP_S = 0.002  # short enough for the envelopes of the widest bands
# Largest standard deviation in time, of the narrowest bands: the kernel must contain the filter.
_MAX_DEVIATION_S = 0.005
# Band power for white noise of variance 1; about that of the log-mel front end at 16 kHz.
_NOISE_GAIN = 5.0


class Filterbank(nn.Module):
    """Learned filterbank: samples in ±1 [B, S, 1] → log power of bands [B, S / hop, n_bands].

    Frame m is centred on samples [m, m + 1) · hop, or ends with them if causal; the signal is
    padded with silence. Raises ValueError if S is not a multiple of hop. `reach` is the receptive
    field beyond a frame's own hop, to either side, in samples.
    """

    def __init__(
        self,
        n_bands: int,
        audio_rate_hz: int,
        hop: int,
        edges_hz: tuple[float, float] | None = None,
        causal: bool = False,
    ) -> None:
        """edges_hz: lowest and highest frequency of the bands at initialisation."""
        super().__init__()
        self.hop = hop
        stride = _nearest_divisor(hop, _FILTER_HOP_S * audio_rate_hz)
        kernel = max(round(_KERNEL_S * audio_rate_hz), 2 * stride)
        kernel += (kernel - stride) % 2  # equal padding on both sides
        self.filters = nn.Conv1d(1, 2 * n_bands, kernel, stride, bias=False)
        with torch.no_grad():
            initial = torch.from_numpy(mel_waves(n_bands, audio_rate_hz, kernel, edges_hz))
            self.filters.weight.copy_(initial[:, None])  # [2 · n_bands, 1, kernel]
        per_hop = hop // stride
        width = 2 * per_hop - per_hop % 2  # same parity as per_hop: centred on the hop
        self.smooth = nn.AvgPool1d(width, per_hop)
        pad = (kernel - stride) // 2 + (width - per_hop) // 2 * stride
        self.padding = (2 * pad, 0) if causal else (pad, pad)
        self.reach = max(self.padding)

    def forward(self, samples: Tensor) -> Tensor:
        check_shape("waveform", samples, ("B", "S", 1))
        if samples.shape[1] % self.hop:
            raise ValueError(
                f"waveform must be a multiple of {self.hop} samples, got {samples.shape[1]}"
            )
        padded = nn.functional.pad(samples.float().transpose(1, 2), self.padding)
        filtered = self.filters(padded)  # [B, 2 · n_bands, L]
        cosines, sines = filtered.square().chunk(2, dim=1)  # quadrature: their sum has no phase
        power = self.smooth(cosines + sines)  # [B, n_bands, S / hop]
        bands = log_power(power).transpose(1, 2)  # [B, S / hop, n_bands]
        check_shape("bands", bands, ("B", samples.shape[1] // self.hop, "M"))
        return bands


def mel_waves(
    n_bands: int, audio_rate_hz: int, kernel: int, edges_hz: tuple[float, float] | None = None
) -> npt.NDArray[np.float32]:
    """Gabor filters [2 · n_bands, kernel]: Gaussian-windowed cosines, then sines.

    Centre frequencies are evenly spaced on the mel scale (O'Shaughnessy's formula). A Gaussian of
    standard deviation s in time has a half-power bandwidth of √(ln 2) / (π s).
    """
    low_hz, high_hz = edges_hz or (_LOWEST_HZ, audio_rate_hz / 2)
    low_hz, high_hz = max(low_hz, _LOWEST_HZ), min(high_hz, _HIGHEST_SHARE * audio_rate_hz / 2)
    edges_mel = np.linspace(_mel(low_hz), _mel(high_hz), n_bands + 2)
    bands_hz = 700 * (10 ** (edges_mel / 2595) - 1)  # the inverse of _mel
    width_hz = (bands_hz[2:] - bands_hz[:-2]) / 2  # half-power width of a triangular mel filter
    deviation_s = np.minimum(math.sqrt(math.log(2)) / (math.pi * width_hz), _MAX_DEVIATION_S)
    time_s = (np.arange(kernel) - (kernel - 1) / 2) / audio_rate_hz
    gaussian = np.exp(-((time_s / deviation_s[:, None]) ** 2) / 2)
    angles = 2 * math.pi * bands_hz[1:-1, None] * time_s
    waves = np.stack([gaussian * np.cos(angles), gaussian * np.sin(angles)])  # [2, n_bands, kernel]
    energy = (waves**2).sum(axis=(0, 2), keepdims=True)  # of the pair: the gain for white noise
    scaled: npt.NDArray[np.float64] = waves * np.sqrt(_NOISE_GAIN / energy)
    return scaled.reshape(2 * n_bands, kernel).astype(np.float32)


def _mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def _nearest_divisor(whole: int, wanted: float) -> int:
    """The divisor of `whole` nearest to `wanted` on a logarithmic scale."""
    divisors = (n for n in range(1, whole + 1) if whole % n == 0)
    return min(divisors, key=lambda n: abs(math.log(n / wanted)))
