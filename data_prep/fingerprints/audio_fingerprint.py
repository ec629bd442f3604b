"""Audio fingerprint: a 32-bit hash per window, robust to coding, loudness and trimming.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (2002): with 33 bands
between 300 and 3400 Hz, each bit says whether the energy difference of two neighbouring bands grows
from one window to the next. Windows are long and overlap strongly, so a copy trimmed at another
position has nearly the same hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft, rfftfreq
from scipy.signal import firwin, resample_poly

from data_prep.clip import BoolArray, Samples

HASH_HOP_S = 0.032

_RATE_HZ = 8_000
_WINDOW = 2048  # 0.256 s at 8 kHz
_HOP = 256
_BAND_EDGES_HZ = np.geomspace(300, 3400, 34)
_EDGES = np.searchsorted(rfftfreq(_WINDOW, 1 / _RATE_HZ), _BAND_EDGES_HZ)
_HANN = np.hanning(_WINDOW).astype(np.float32)
_SILENCE = 2.5e-5  # energy of a window between the band edges, full scale 1
_BLOCK_S = 60
_HALF_TAPS, _FIR_WINDOW = 5, ("kaiser", 5.0)  # half of scipy's taps: only below 3.4 kHz matters

Hashes = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class AudioFingerprint:
    """hashes uint32 [T], one per HASH_HOP_S; audible bool [T]: False for silence."""

    hashes: Hashes
    audible: BoolArray

    @property
    def audible_s(self) -> float:
        return int(self.audible.sum()) * HASH_HOP_S


EMPTY_FINGERPRINT = AudioFingerprint(np.zeros(0, np.uint32), np.zeros(0, np.bool_))


def audio_fingerprint(waveform: Samples, rate_hz: int) -> AudioFingerprint:
    """Fingerprint of a mono waveform float32 [S] in ±1; empty below about 0.29 s."""
    return audio_fingerprint_of_blocks([waveform], rate_hz)


def audio_fingerprint_of_blocks(pieces: Iterable[Samples], rate_hz: int) -> AudioFingerprint:
    """Fingerprint of a waveform that arrives in pieces; holds about a minute of it in memory."""
    parts = list(_blocks(pieces, rate_hz))
    if not parts:
        return EMPTY_FINGERPRINT
    return AudioFingerprint(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.audible for part in parts]),
    )


def agreement(
    first: AudioFingerprint, second: AudioFingerprint, offset: int
) -> tuple[float, float]:
    """(1 − 2 · bit error rate, seconds compared) over hashes audible in both, at an offset.

    offset: index of the first one's hash that is aligned with the second one's first hash. An
    agreement of 0 is chance, 1 identity.
    """
    begin = max(0, offset)
    end = min(first.hashes.size, second.hashes.size + offset)
    if end <= begin:
        return 0.0, 0.0
    mask = first.audible[begin:end] & second.audible[begin - offset : end - offset]
    n_hashes = int(mask.sum())
    if not n_hashes:
        return 0.0, 0.0
    differing = np.bitwise_count(
        first.hashes[begin:end][mask] ^ second.hashes[begin - offset : end - offset][mask]
    )
    return 1 - 2 * float(differing.sum()) / (32 * n_hashes), n_hashes * HASH_HOP_S


def _blocks(pieces: Iterable[Samples], rate_hz: int) -> Iterator[AudioFingerprint]:
    """Fingerprints of a minute each, seamless: each block includes the window across its end."""
    block = _BLOCK_S * rate_hz
    # a hash needs two windows: input samples for 2048 + 256 at 8 kHz, rounded up
    overlap = -(-(_WINDOW + _HOP) * rate_hz // _RATE_HZ)
    held = np.zeros(0, np.float32)
    for piece in pieces:
        held = np.concatenate([held, piece])
        while held.size >= block + overlap:
            yield _hash_block(held[: block + overlap], rate_hz, _BLOCK_S * _RATE_HZ // _HOP)
            held = held[block:]
    if held.size > block:
        if held.size >= overlap:
            yield _hash_block(held, rate_hz, _BLOCK_S * _RATE_HZ // _HOP)
        held = held[block:]
    if held.size >= overlap:
        yield _hash_block(held, rate_hz, None)


def _hash_block(waveform: Samples, rate_hz: int, max_hashes: int | None) -> AudioFingerprint:
    samples = waveform
    if rate_hz != _RATE_HZ:
        divisor = gcd(rate_hz, _RATE_HZ)
        up, down = _RATE_HZ // divisor, rate_hz // divisor
        samples = resample_poly(samples, up, down, window=_taps(max(up, down)))
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectra = rfft(windows * _HANN, axis=1)
    squares = np.square(spectra.view(spectra.real.dtype))  # real and imaginary parts interleaved
    # ·2 as each bin has two entries; the last sum, of all bins above 3400 Hz, is dropped
    bands = np.add.reduceat(squares, 2 * _EDGES, axis=1)[:, :-1]
    tilt = np.diff(np.log(bands + 1e-7), axis=1)
    bits = np.diff(tilt, axis=0) > 0
    hashes = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    audible = bands.sum(axis=1)[1:] > _SILENCE  # hash t compares window t + 1 with window t
    return AudioFingerprint(hashes[:max_hashes], audible[:max_hashes])


@cache
def _taps(ratio: int) -> npt.NDArray[np.float32]:
    """Low-pass FIR filter for resampling by this ratio."""
    taps = firwin(2 * _HALF_TAPS * ratio + 1, 1 / ratio, window=_FIR_WINDOW)
    return np.asarray(taps, np.float32)
