"""How much of a file's sound lies above the frequencies that are kept: for scan to say."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from data_prep.losses import Losses
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    ChannelReader,
    audio_stream,
    decoded,
    open_media,
)

_LISTENED_S = 5.0
_WINDOW = 4096
_RUMBLE_HZ = 50.0  # wind and handling below it are not what is recorded


def energy_above(path: str, kept_hz: float) -> float:
    """Share of the energy of the first seconds' sound above a frequency, all channels together."""
    total = above = 0.0
    with open_media(path) as container:
        stream = audio_stream(container)
        reader, heard_s = None, 0.0
        if stream is None:
            return 0.0
        for frame in decoded(container, stream, Losses()):
            rate_hz = frame.sample_rate
            heard_s += frame.samples / rate_hz
            with suppress(*DECODE_ERRORS):  # counted when it is read to be heard
                reader = reader or ChannelReader(frame)
                loud, high = _energies(reader.read(frame), rate_hz, kept_hz)
                total, above = total + loud, above + high
            if heard_s >= _LISTENED_S:
                break
    return above / total if total > 0 else 0.0


def _energies(channels: np.ndarray, rate_hz: int, kept_hz: float) -> tuple[float, float]:
    """(energy, that above kept_hz) of float32 [C, S] in whole windows."""
    n = channels.shape[1] // _WINDOW
    if not n:
        return 0.0, 0.0
    windows = np.nan_to_num(channels[:, : n * _WINDOW]).reshape(-1, _WINDOW)
    windows = np.clip(windows, -1e3, 1e3) * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(windows, axis=1))).sum(axis=0)
    hz = np.fft.rfftfreq(_WINDOW, 1 / rate_hz)
    return float(power[hz > _RUMBLE_HZ].sum()), float(power[hz > kept_hz].sum())
