"""Share of a file's audio energy above the frequencies that clips keep, for a remark of scan."""

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

_SURVEYED_S = 5.0
_WINDOW = 4096
_RUMBLE_HZ = 50.0  # below it is wind and handling noise, not the subject


def energy_above(path: str, kept_hz: float) -> float:
    """Share of the energy above kept_hz in the first 5 s of audio, over all channels; 0 to 1."""
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return 0.0
        reader, blocks, read_s, rate_hz = None, [], 0.0, 0
        for frame in decoded(container, stream, DecodeErrors()):
            if reader is not None and frame.sample_rate != rate_hz:
                break  # one spectrum has one sample rate
            rate_hz, read_s = frame.sample_rate, read_s + frame.samples / frame.sample_rate
            with suppress(*DECODE_ERRORS):  # counted when the clip is decoded
                reader = reader or ChannelReader(frame)
                blocks.append(reader.read(frame))
            if read_s >= _SURVEYED_S:
                break
        if reader is not None:
            with suppress(*DECODE_ERRORS):
                blocks.append(reader.read(None))
    widest = max((block.shape[0] for block in blocks), default=0)
    # the channel count may change within a file
    used = [block for block in blocks if block.shape[0] == widest]
    total, above = _energies(np.concatenate(used, axis=1), rate_hz, kept_hz) if used else (0.0, 0.0)
    return above / total if total > 0 else 0.0


def _energies(channels: np.ndarray, rate_hz: int, kept_hz: float) -> tuple[float, float]:
    """(energy above 50 Hz, energy above kept_hz) of float32 [C, S], in whole windows."""
    window = min(_WINDOW, channels.shape[1])
    if not window:
        return 0.0, 0.0
    n = channels.shape[1] // window
    windows = finite_only(channels[:, : n * window]).reshape(-1, window) * np.hanning(window)
    power = np.square(np.abs(np.fft.rfft(windows.astype(np.float64), axis=1))).sum(axis=0)
    hz = np.fft.rfftfreq(window, 1 / rate_hz)
    return float(power[hz > _RUMBLE_HZ].sum()), float(power[hz > kept_hz].sum())
