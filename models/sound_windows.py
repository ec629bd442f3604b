"""Sound seen as pictures by the frame encoder: a pretrained front end for the Conv1D stack.

A window of a few seconds becomes log-mel power, time to the right and high bands on top, and is
scaled to the side the CNN was trained on. Features learned on photographs tell sounds apart better
than anything that a few hundred clips can teach a network from nothing (after Palanisamy,
Singhania and Yao, 2020: Rethinking CNN Models for Audio Classification).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from models.frame_encoder import FrameEncoder
from models.shapes import check_shape

_HOP_S, _WINDOW_S, _BANDS = 0.01, 0.025, 128
_LOWEST_HZ = 30.0
_FLOOR = 1e-6  # power below which a band counts as silent
# Log power of ordinary recordings lies between the floor's −13.8 and about 5: black and white.
_BLACK, _WHITE = -13.8, 5.0


class MelPower(nn.Module):
    """int16 windows [N, S] → mel power float [N, M, frames], the highest band first.

    The power is that of torchaudio's MelSpectrogram of samples in ±1, with centred Hann windows,
    silence past the ends, and Slaney's bands at equal areas. The Fourier transform is written as
    convolutions with the windowed waves: OpenVINO runs these three times as fast as its own
    transform, which made a quarter of a window's time, and keeps their float32 where the CNN runs
    in bfloat16.
    """

    cosines: Tensor
    sines: Tensor
    bands: Tensor

    def __init__(self, audio_rate_hz: int, window: int, hop: int, n_fft: int) -> None:
        super().__init__()
        self.hop, self.before = hop, n_fft // 2 - (n_fft - window) // 2
        n_bins = n_fft // 2 + 1
        hann = torch.hann_window(window, dtype=torch.float64) / 32768
        angles = torch.outer(torch.arange(n_bins), torch.arange(window)).double()
        angles *= 2 * torch.pi / n_fft
        for name, waves in (("cosines", angles.cos()), ("sines", angles.sin())):
            self.register_buffer(name, (waves * hann).float()[:, None], persistent=False)
        bands = melscale_fbanks(
            n_bins, _LOWEST_HZ, audio_rate_hz // 2, _BANDS, audio_rate_hz, "slaney", "slaney"
        )
        self.register_buffer("bands", bands.T.flip(0).contiguous(), persistent=False)  # [M, bins]

    def forward(self, windows: Tensor) -> Tensor:
        """int16 [N, S] → float [N, M, S // hop + 1]."""
        samples = windows[:, None].to(self.cosines.dtype)
        real, imaginary = (
            nn.functional.conv1d(samples, waves, stride=self.hop, padding=self.before)
            for waves in (self.cosines, self.sines)
        )
        return self.bands @ (real**2 + imaginary**2)


class SoundWindowEncoder(nn.Module):
    """int16 windows [N, S] → float [N, D], each by itself."""

    def __init__(self, encoder: FrameEncoder, audio_rate_hz: int, side_px: int) -> None:
        super().__init__()
        self.encoder, self.side_px = encoder, side_px
        self.n_features = encoder.n_features
        window = round(_WINDOW_S * audio_rate_hz)
        self.mel = MelPower(
            audio_rate_hz,
            window=window,
            hop=round(_HOP_S * audio_rate_hz),
            n_fft=2 * 2 ** (window - 1).bit_length(),  # narrow enough for 128 bands
        )

    def forward(self, windows: Tensor) -> Tensor:
        """int16 [N, S] → float [N, D]. Raises ValueError for another kind or shape."""
        check_shape("windows", windows, ("N", "S"))
        if windows.dtype != torch.int16:
            raise ValueError(f"windows must be int16, got {windows.dtype}")
        features: Tensor = self.encoder.encode(self.pictures(windows).expand(-1, 3, -1, -1))
        return features

    def pictures(self, windows: Tensor) -> Tensor:
        """int16 [N, S] → grey float [N, 1, H, W] in 0…255."""
        bands = torch.log(self.mel(windows) + _FLOOR)  # [N, M, frames]
        grey = ((bands - _BLACK) / (_WHITE - _BLACK) * 255).clamp(0, 255)
        size = (self.side_px, self.side_px)
        return nn.functional.interpolate(grey[:, None], size, mode="bilinear", align_corners=False)
