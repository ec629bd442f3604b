"""Sound seen as pictures by the frame encoder: a pretrained front end for the Conv1D stack.

A window of a few seconds becomes log-mel power, time to the right and high bands on top, and is
scaled to the side the CNN was trained on. Features learned on photographs tell sounds apart better
than anything that a few hundred clips can teach a network from nothing (after Palanisamy,
Singhania and Yao, 2020: Rethinking CNN Models for Audio Classification).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from models.frame_encoder import FrameEncoder
from models.shapes import check_shape

_HOP_S, _WINDOW_S, _BANDS = 0.01, 0.025, 128
_FLOOR = 1e-6  # power below which a band counts as silent
# Log power of ordinary recordings lies between the floor's −13.8 and about 5: black and white.
_BLACK, _WHITE = -13.8, 5.0


class SoundWindowEncoder(nn.Module):
    """int16 windows [N, S] → float [N, D], each by itself."""

    def __init__(self, encoder: FrameEncoder, audio_rate_hz: int, side_px: int) -> None:
        super().__init__()
        self.encoder, self.side_px = encoder, side_px
        self.n_features = encoder.n_features
        window = round(_WINDOW_S * audio_rate_hz)
        self.mel = MelSpectrogram(
            sample_rate=audio_rate_hz,
            n_fft=2 * 2 ** (window - 1).bit_length(),  # narrow enough for 128 bands
            win_length=window,
            hop_length=round(_HOP_S * audio_rate_hz),
            f_min=30.0,
            n_mels=_BANDS,
            center=True,
            pad_mode="constant",
            power=2.0,
            norm="slaney",
            mel_scale="slaney",
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
        bands = torch.log(self.mel(windows.to(torch.float32) / 32768) + _FLOOR)  # [N, M, frames]
        grey = ((bands - _BLACK) / (_WHITE - _BLACK) * 255).clamp(0, 255).flip(1)
        size = (self.side_px, self.side_px)
        return nn.functional.interpolate(grey[:, None], size, mode="bilinear", align_corners=False)
