"""How much of a file's sound lies above the frequencies that are kept: for scan to say."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from data_prep.audio.channel_mix import finite_only
from data_prep.decode_errors import DecodeErrors
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
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return 0.0
        reader, blocks, heard_s, rate_hz = None, [], 0.0, 0
        for frame in decoded(container, stream, DecodeErrors()):
            if reader is not None and frame.sample_rate != rate_hz:
                break
            rate_hz, heard_s = frame.sample_rate, heard_s + frame.samples / frame.sample_rate
            with suppress(*DECODE_ERRORS):  # counted when it is read to be heard
                reader = reader or ChannelReader(frame)
                blocks.append(reader.read(frame))
            if heard_s >= _LISTENED_S:
                break
        if reader is not None:
            with suppress(*DECODE_ERRORS):
                blocks.append(reader.read(None))
    widest = max((block.shape[0] for block in blocks), default=0)
    own = [block for block in blocks if block.shape[0] == widest]
    total, above = _energies(np.concatenate(own, axis=1), rate_hz, kept_hz) if own else (0.0, 0.0)
    return above / total if total > 0 else 0.0


def _energies(channels: np.ndarray, rate_hz: int, kept_hz: float) -> tuple[float, float]:
    """(energy, that above kept_hz) of float32 [C, S] in whole windows."""
    window = min(_WINDOW, channels.shape[1])
    if not window:
        return 0.0, 0.0
    n = channels.shape[1] // window
    windows = finite_only(channels[:, : n * window]).reshape(-1, window) * np.hanning(window)
    power = np.square(np.abs(np.fft.rfft(windows.astype(np.float64), axis=1))).sum(axis=0)
    hz = np.fft.rfftfreq(window, 1 / rate_hz)
    return float(power[hz > _RUMBLE_HZ].sum()), float(power[hz > kept_hz].sum())
