"""What the Conv1D stack is given: the waveform, log-mel bands, or features of windows of it.

Nothing here has weights, so its output can be made once per clip and kept.

What a few hundred milliseconds of log-mel bands look like, in numbers that need no training.

Mean, deviation and maximum say which bands are how loud. How much a band changes from one moment to
one 10, 50 or 200 ms later tells a rattle from a hum, and the spectrum's shape is the bands against
their own mean, however loud the sound. On 400 clips of ten sounds logistic regression on all of
them is right in 87 to 90 %, on mean and deviation alone in 81 % (benchmarks/sound_statistics.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from models.settings import CHANGE_LAGS, ModelSettings
from models.shapes import check_shape

_WINDOW_S = 0.025
_FLOOR = 1e-6  # power below which a band counts as silent
# Log power of ordinary recordings lies between the floor's −13.8 and about 5.
_LOG_CENTRE, _LOG_SCALE = -5.0, 4.0


class AudioFrontEnd(nn.Module):
    """Sound of a clip → [B, M, D], M a whole multiple of the time steps.

    waveform    int16 or float [B, S] → itself, D = 1
    log_mel     int16 or float [B, S] → bands. Frame m is centred on the middle of its own hop: hop
                m covers [m, m + 1) · hop, and the window reaches equally far to both sides. Past
                the ends of the clip there is silence.
    pretrained  features of windows [B, M, D] → themselves: the frame encoder made them

    `inputs_per_step` says how many samples, or windows, a time step has.
    Raises ValueError where the rates do not divide.
    """

    def __init__(
        self,
        settings: ModelSettings,
        audio_rate_hz: int,
        samples_per_step: int,
        n_window_features: int = 0,
    ) -> None:
        """n_window_features: width of a window's vector, for the pretrained front end."""
        super().__init__()
        self.takes_windows = settings.audio_front_end == "pretrained"
        self.inputs_per_step = samples_per_step
        self.mel: MelSpectrogram | None = None
        self.hop, self.n_bands = 1, 1
        if settings.audio_front_end == "log_mel":
            self.hop = mel_hop_samples(settings.mel_hop_ms, audio_rate_hz, samples_per_step)
            self.n_bands = settings.mel_bins
            edges_hz = settings.band_edges_hz(audio_rate_hz)
            self.mel = _mel(self.hop, settings.mel_bins, audio_rate_hz, edges_hz)
        elif self.takes_windows:
            step_s = samples_per_step / audio_rate_hz
            hop_s = step_s if settings.sound_hop_s is None else settings.sound_hop_s
            self.inputs_per_step = max(1, round(step_s / hop_s))
            self.n_bands = n_window_features
        self.frames_per_step = self.inputs_per_step // self.hop
        self.reach_inputs = 0 if self.mel is None else (self.mel.n_fft - self.hop) // 2
        """How far before and after its own hop a frame looks."""

    def forward(self, sound: Tensor) -> Tensor:
        """[B, S], or windows [B, M, D] → float [B, M, D], M = S / hop."""
        if self.takes_windows:
            check_shape("windows", sound, ("B", "M", self.n_bands))
        else:
            check_shape("waveform", sound, ("B", "S"))
        if sound.shape[1] % self.inputs_per_step:
            raise ValueError(
                f"sound must hold whole steps of {self.inputs_per_step}, got {sound.shape[1]}"
            )
        sound = as_float(sound)
        if self.mel is None:
            return sound if self.takes_windows else sound[:, :, None]
        pad = (self.mel.n_fft - self.hop) // 2
        power = self.mel(nn.functional.pad(sound, (pad, pad)))  # [B, D, M]
        bands = log_power(power)
        check_shape("log-mel", bands, ("B", self.n_bands, sound.shape[1] // self.hop))
        return bands.transpose(1, 2)

    def silence(self, n_steps: int) -> Tensor:
        """What it gives for one clip without a sound, [M, D], without computing it."""
        level = 0.0 if self.mel is None else (math.log(_FLOOR) - _LOG_CENTRE) / _LOG_SCALE
        return torch.full((n_steps * self.frames_per_step, self.n_bands), level)


def apply_gain(sound: Tensor, gain_db: Tensor, front_end: str) -> Tensor:
    """What a front end would give [B, M, D] had the clips been so much louder: gain_db [B].

    Raises ValueError for the pretrained one, whose features cannot be made so.
    """
    if front_end == "pretrained":
        raise ValueError("features of windows cannot be made louder")
    gain_db = gain_db[:, None, None]
    if front_end == "waveform":
        return as_float(sound) * 10 ** (gain_db / 20)
    power = torch.exp(sound * _LOG_SCALE + _LOG_CENTRE) - _FLOOR
    louder_power = power.clamp(min=0) * 10 ** (gain_db / 10)
    return log_power(louder_power)


def log_power(power: Tensor) -> Tensor:
    """In logarithms, above a floor, brought to about −2…2."""
    return (torch.log(power + _FLOOR) - _LOG_CENTRE) / _LOG_SCALE


def as_float(sound: Tensor) -> Tensor:
    """int16 → float in −1…1; other numbers as they are, as float32."""
    return sound.to(torch.float32) / 32768 if sound.dtype == torch.int16 else sound.float()


def mel_hop_samples(hop_ms: float | None, audio_rate_hz: int, samples_per_step: int) -> int:
    """The hop in samples; it must divide the step. Raises ValueError naming the nearest that do."""
    wanted = (hop_ms if hop_ms is not None else 10.0) * audio_rate_hz / 1000
    divisors = [n for n in range(1, samples_per_step + 1) if samples_per_step % n == 0]
    nearest = min(divisors, key=lambda n: abs(n - wanted))
    if hop_ms is None:
        return nearest
    if abs(nearest - wanted) > 1e-3:  # hints are rounded
        near = sorted(divisors, key=lambda n: abs(n - wanted))[:2]
        hints = " or ".join(f"{n * 1000 / audio_rate_hz:g}" for n in sorted(near))
        raise ValueError(
            f"model.mel_hop_ms={hop_ms:g} is no whole part of a time step "
            f"({samples_per_step} samples, from clip.audio_rate_hz and clip.frame_rate_hz); "
            f"try {hints}, or null"
        )
    return nearest


def _mel(
    hop: int, n_bands: int, audio_rate_hz: int, edges_hz: tuple[float, float]
) -> MelSpectrogram:
    window = max(round(_WINDOW_S * audio_rate_hz), hop)
    n_fft = 2 ** (window - 1).bit_length()
    n_fft += (n_fft - hop) % 2  # the padding is the same on both sides
    return MelSpectrogram(
        sample_rate=audio_rate_hz,
        n_fft=n_fft,
        win_length=window,
        hop_length=hop,
        f_min=edges_hz[0],
        f_max=edges_hz[1],
        n_mels=n_bands,
        center=False,
        power=2.0,
        norm="slaney",
        mel_scale="slaney",
    )


def band_statistics(bands: Tensor) -> Tensor:
    """Log power [N, F, M] of F frames → [N, N_BAND_STATISTICS · M].

    A change over more frames than there are is zero.
    """
    shape = bands - bands.mean(dim=2, keepdim=True)
    found = [*moments(bands, 1), bands.amax(dim=1), *moments(shape, 1)]
    n_frames = bands.shape[1]
    for lag in CHANGE_LAGS:
        if lag < n_frames:
            found.append((bands[:, lag:] - bands[:, :-lag]).abs().mean(dim=1))
        else:
            found.append(torch.zeros_like(bands[:, 0]))
    return torch.cat(found, dim=1)


def moments(values: Tensor, dim: int) -> list[Tensor]:
    """Mean and deviation over one dimension, whose slope stays finite where nothing varies."""
    mean = values.mean(dim=dim)
    deviation = ((values - mean.unsqueeze(dim)).square().mean(dim=dim) + 1e-8).sqrt()
    return [mean, deviation]
