"""Pretrained audio front end: log-mel spectrograms as images for the frame encoder.

A window of a few seconds becomes a log-mel spectrogram, time to the right and high bands on top,
resized to the input size of the CNN. Features pretrained on photographs separate sounds better than
features trained from scratch on a few hundred clips (after Palanisamy, Singhania and Yao, 2020:
Rethinking CNN Models for Audio Classification). Statistics of the same bands are appended, since
the image does not resolve changes within milliseconds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from models.audio.front_end import band_statistics
from models.backbones.frame_encoder import FrameEncoder
from models.settings import WINDOW_BANDS, spectrogram_feature_dim
from models.shapes import check_shape

_HOP_S, _WINDOW_S = 0.01, 0.025
_LOWEST_HZ = 30.0
_LONGEST_WINDOW = 2048  # samples: the transform is a matrix, too large for 25 ms at 250 kHz
_FLOOR = 1e-6  # power below which a band counts as silent; keeps the logarithm finite
# The log power of ordinary recordings lies between −13.8 (the floor) and about 5.
_BLACK, _WHITE = -13.8, 5.0


class MelPower(nn.Module):
    """Windows in ±1, float [N, S] → mel power float [N, M, frames], the highest band first.

    The same power as torchaudio's MelSpectrogram with centred Hann windows, zero padding, and
    Slaney's mel scale and area normalisation. The Fourier transform is written as convolutions with
    windowed cosines and sines: OpenVINO runs these three times as fast as its own transform, which
    took a quarter of a window's time, and keeps them in float32 where the CNN runs in bfloat16.
    """

    cosines: Tensor
    sines: Tensor
    bands: Tensor

    def __init__(
        self,
        audio_rate_hz: int,
        window: int,
        hop: int,
        n_fft: int,
        edges_hz: tuple[float, float],
    ) -> None:
        super().__init__()
        # torch.stft centres a short window within n_fft; only the window itself is convolved here
        self.hop, self.before = hop, n_fft // 2 - (n_fft - window) // 2
        n_bins = n_fft // 2 + 1
        hann = torch.hann_window(window, dtype=torch.float64)
        angles = torch.outer(torch.arange(n_bins), torch.arange(window)).double()  # [bins, window]
        angles *= 2 * torch.pi / n_fft
        for name, waves in (("cosines", angles.cos()), ("sines", angles.sin())):
            kernels = (waves * hann).float()[:, None]  # [bins, 1, window]
            self.register_buffer(name, kernels, persistent=False)
        bands = melscale_fbanks(n_bins, *edges_hz, WINDOW_BANDS, audio_rate_hz, "slaney", "slaney")
        self.register_buffer("bands", bands.T.flip(0), persistent=False)  # [M, bins]

    def n_frames(self, n_samples: int) -> int:
        """Spectrogram frames of a window of n_samples."""
        return (n_samples + 2 * self.before - self.cosines.shape[2]) // self.hop + 1

    def forward(self, windows: Tensor) -> Tensor:
        """float [N, S] → float [N, M, n_frames(S)]."""
        with torch.autocast(windows.device.type, enabled=False):  # 16 bits are too few for power
            samples = windows[:, None].to(self.cosines.dtype)  # [N, 1, S]
            real, imaginary = (
                nn.functional.conv1d(samples, waves, stride=self.hop, padding=self.before)
                for waves in (self.cosines, self.sines)
            )
            return self.bands @ (real**2 + imaginary**2)  # [M, bins] @ [N, bins, frames]


class SpectrogramEncoder(nn.Module):
    """Windows in ±1, float32 [N, S] → features float [N, D], independent of each other."""

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        encoder: FrameEncoder,
        audio_rate_hz: int,
        side_px: int,
        n_samples: int,
        edges_hz: tuple[float, float] | None = None,
    ) -> None:
        """n_samples: samples per window, S; edges_hz: lowest and highest frequency of the bands."""
        super().__init__()
        self.encoder, self.n_samples = encoder, n_samples
        self.n_features = spectrogram_feature_dim(encoder.n_features)
        window = min(_LONGEST_WINDOW, round(_WINDOW_S * audio_rate_hz))
        self.mel = MelPower(
            audio_rate_hz,
            window=window,
            hop=min(window // 2, round(_HOP_S * audio_rate_hz)),
            n_fft=2 * 2 ** (window - 1).bit_length(),  # resolves the lowest of the 128 bands
            edges_hz=edges_hz or (_LOWEST_HZ, float(audio_rate_hz // 2)),
        )
        n_frames = self.mel.n_frames(n_samples)
        self.register_buffer("rows", _resize(WINDOW_BANDS, side_px), persistent=False)
        self.register_buffer("columns", _resize(n_frames, side_px).T, persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """float32 [N, S] → float [N, D]. Raises ValueError for another dtype or shape."""
        check_shape("windows", windows, ("N", self.n_samples))
        if windows.dtype != torch.float32:
            raise ValueError(f"windows must be float32, got {windows.dtype}")
        bands = torch.log(self.mel(windows) + _FLOOR)  # [N, M, frames]
        images = self._to_images(bands).expand(-1, 3, -1, -1)  # [N, 3, H, W], grey
        features = self.encoder.encode(images)
        return torch.cat([features, band_statistics(bands.transpose(1, 2))], dim=1)  # [N, D]

    def images(self, windows: Tensor) -> Tensor:
        """float32 [N, S] → greyscale float [N, 1, H, W], whole numbers in 0…255."""
        return self._to_images(torch.log(self.mel(windows) + _FLOOR))

    def _to_images(self, bands: Tensor) -> Tensor:
        grey = ((bands - _BLACK) / (_WHITE - _BLACK) * 255).clamp(0, 255)
        image = self.rows @ grey @ self.columns  # [N, H, W]
        return image.round()[:, None]  # 8 bits as in a photograph, which bfloat16 holds exactly


def _resize(n: int, side_px: int) -> Tensor:
    """Bilinear resizing of one axis as a matrix [side, n]: faster in OpenVINO, and float32."""
    resized = nn.functional.interpolate(torch.eye(n)[None], side_px, mode="linear")  # [1, n, side]
    return resized[0].T.contiguous()
