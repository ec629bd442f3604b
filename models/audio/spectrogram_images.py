"""Sound seen as pictures by the frame encoder: a pretrained front end for the Conv1D stack.

A window of a few seconds becomes log-mel power, time to the right and high bands on top, and is
scaled to the side the CNN was trained on. Features learned on photographs tell sounds apart better
than anything that a few hundred clips can teach a network from nothing (after Palanisamy,
Singhania and Yao, 2020: Rethinking CNN Models for Audio Classification). Statistics of the same
bands stand beside them: how a sound changes within milliseconds is lost in a picture.
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
_LONGEST_WINDOW = 2048  # samples: the transform is a matrix, and 25 ms at 250 kHz are too many
_FLOOR = 1e-6  # power below which a band counts as silent
# Log power of ordinary recordings lies between the floor's −13.8 and about 5: black and white.
_BLACK, _WHITE = -13.8, 5.0


class MelPower(nn.Module):
    """Windows in ±1, float [N, S] → mel power float [N, M, frames], the highest band first.

    The power is that of torchaudio's MelSpectrogram of samples in ±1, with centred Hann windows,
    silence past the ends, and Slaney's bands at equal areas. The Fourier transform is written as
    convolutions with the windowed waves: OpenVINO runs these three times as fast as its own
    transform, which made a quarter of a window's time, and keeps their float32 where the CNN runs
    in bfloat16.
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
        self.hop, self.before = hop, n_fft // 2 - (n_fft - window) // 2
        n_bins = n_fft // 2 + 1
        hann = torch.hann_window(window, dtype=torch.float64)
        angles = torch.outer(torch.arange(n_bins), torch.arange(window)).double()
        angles *= 2 * torch.pi / n_fft
        for name, waves in (("cosines", angles.cos()), ("sines", angles.sin())):
            self.register_buffer(name, (waves * hann).float()[:, None], persistent=False)
        bands = melscale_fbanks(n_bins, *edges_hz, WINDOW_BANDS, audio_rate_hz, "slaney", "slaney")
        self.register_buffer("bands", bands.T.flip(0), persistent=False)  # [M, bins]

    def n_frames(self, n_samples: int) -> int:
        return (n_samples + 2 * self.before - self.cosines.shape[2]) // self.hop + 1

    def forward(self, windows: Tensor) -> Tensor:
        """float [N, S] → float [N, M, n_frames(S)]."""
        with torch.autocast(windows.device.type, enabled=False):  # 16 bits are too few for power
            samples = windows[:, None].to(self.cosines.dtype)
            real, imaginary = (
                nn.functional.conv1d(samples, waves, stride=self.hop, padding=self.before)
                for waves in (self.cosines, self.sines)
            )
            return self.bands @ (real**2 + imaginary**2)


class SpectrogramEncoder(nn.Module):
    """Windows in ±1, float32 [N, S] → float [N, D], each by itself."""

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
        """n_samples: S, of every window; edges_hz: lowest and highest frequency of the bands."""
        super().__init__()
        self.encoder, self.n_samples = encoder, n_samples
        self.n_features = spectrogram_feature_dim(encoder.n_features)
        window = min(_LONGEST_WINDOW, round(_WINDOW_S * audio_rate_hz))
        self.mel = MelPower(
            audio_rate_hz,
            window=window,
            hop=min(window // 2, round(_HOP_S * audio_rate_hz)),
            n_fft=2 * 2 ** (window - 1).bit_length(),  # narrow enough for 128 bands
            edges_hz=edges_hz or (_LOWEST_HZ, float(audio_rate_hz // 2)),
        )
        n_frames = self.mel.n_frames(n_samples)
        self.register_buffer("rows", _resize(WINDOW_BANDS, side_px), persistent=False)
        self.register_buffer("columns", _resize(n_frames, side_px).T, persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """float32 [N, S] → float [N, D]. Raises ValueError for another kind or shape."""
        check_shape("windows", windows, ("N", self.n_samples))
        if windows.dtype != torch.float32:
            raise ValueError(f"windows must be float32, got {windows.dtype}")
        bands = torch.log(self.mel(windows) + _FLOOR)  # [N, M, frames]
        features = self.encoder.encode(self._pictures(bands).expand(-1, 3, -1, -1))
        return torch.cat([features, band_statistics(bands.transpose(1, 2))], dim=1)

    def images(self, windows: Tensor) -> Tensor:
        """float32 [N, S] → grey float [N, 1, H, W], whole numbers in 0…255."""
        return self._pictures(torch.log(self.mel(windows) + _FLOOR))

    def _pictures(self, bands: Tensor) -> Tensor:
        grey = ((bands - _BLACK) / (_WHITE - _BLACK) * 255).clamp(0, 255)
        picture = self.rows @ grey @ self.columns
        return picture.round()[:, None]  # as in a photograph's 8 bits, which bfloat16 holds exactly


def _resize(n: int, side_px: int) -> Tensor:
    """[side, n]: bilinear scaling of one axis as a matrix, which is faster in OpenVINO and stays in
    float32."""
    scaled = nn.functional.interpolate(torch.eye(n)[None], side_px, mode="linear")  # [1, n, side]
    return scaled[0].T.contiguous()
