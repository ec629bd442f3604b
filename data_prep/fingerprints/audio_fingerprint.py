"""A short word for every moment of a sound, which survives coding, loudness and a cut beginning.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (2002): of 33 bands between
300 and 3400 Hz, whether the energy's difference between neighbours grows or falls from one window
to the next gives 32 bits. Windows are long and overlap much, so a copy that is cut at another
place gives nearly the same words.
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
_WINDOW = 2048
_HOP = 256
_BAND_EDGES_HZ = np.geomspace(300, 3400, 34)
_EDGES = np.searchsorted(rfftfreq(_WINDOW, 1 / _RATE_HZ), _BAND_EDGES_HZ)
_TAPERED = np.hanning(_WINDOW).astype(np.float32)
_SILENCE = 2.5e-5  # energy of a window between the band edges, full scale being 1
_BLOCK_S = 60
_TAPS_ASIDE, _TAPER = 5, ("kaiser", 5.0)  # half of scipy's usual: only what is below 3.4 kHz counts

Hashes = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class AudioFingerprint:
    """words uint32 [T], one every WORD_HOP_S; heard bool [T]: false where there is silence."""

    hashes: Hashes
    audible: BoolArray

    @property
    def audible_s(self) -> float:
        return int(self.audible.sum()) * HASH_HOP_S


EMPTY_FINGERPRINT = AudioFingerprint(np.zeros(0, np.uint32), np.zeros(0, np.bool_))


def audio_fingerprint(waveform: Samples, rate_hz: int) -> AudioFingerprint:
    """The words of a mono waveform in ±1, float32 [S]; none for less than a quarter second."""
    return audio_fingerprint_of_blocks([waveform], rate_hz)


def audio_fingerprint_of_blocks(pieces: Iterable[Samples], rate_hz: int) -> AudioFingerprint:
    """The same of a waveform that comes piece by piece, of which about a minute is held."""
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
    """(1 − 2 · share of differing bits, seconds) where both are heard, at an offset in words.

    offset: the first one's word that the second one begins at. 0 is chance, 1 the same.
    """
    begin = max(0, offset)
    end = min(first.hashes.size, second.hashes.size + offset)
    if end <= begin:
        return 0.0, 0.0
    both = first.audible[begin:end] & second.audible[begin - offset : end - offset]
    n_words = int(both.sum())
    if not n_words:
        return 0.0, 0.0
    differing = np.bitwise_count(
        first.hashes[begin:end][both] ^ second.hashes[begin - offset : end - offset][both]
    )
    return 1 - 2 * float(differing.sum()) / (32 * n_words), n_words * HASH_HOP_S


def _blocks(pieces: Iterable[Samples], rate_hz: int) -> Iterator[AudioFingerprint]:
    """A minute at a time, each with the window that reaches over its end."""
    step = _BLOCK_S * rate_hz
    reach = -(-(_WINDOW + _HOP) * rate_hz // _RATE_HZ)
    held = np.zeros(0, np.float32)
    for piece in pieces:
        held = np.concatenate([held, piece])
        while held.size >= step + reach:
            yield _print(held[: step + reach], rate_hz, _BLOCK_S * _RATE_HZ // _HOP)
            held = held[step:]
    if held.size > step:
        if held.size >= reach:
            yield _print(held, rate_hz, _BLOCK_S * _RATE_HZ // _HOP)
        held = held[step:]
    if held.size >= reach:
        yield _print(held, rate_hz, None)


def _print(waveform: Samples, rate_hz: int, most: int | None) -> AudioFingerprint:
    sound = waveform
    if rate_hz != _RATE_HZ:
        shared = gcd(rate_hz, _RATE_HZ)
        up, down = _RATE_HZ // shared, rate_hz // shared
        sound = resample_poly(sound, up, down, window=_taps(max(up, down)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    spectra = rfft(windows * _TAPERED, axis=1)
    squares = np.square(spectra.view(spectra.real.dtype))  # real and imaginary parts in turn
    bands = np.add.reduceat(squares, 2 * _EDGES, axis=1)[:, :-1]
    tilt = np.diff(np.log(bands + 1e-7), axis=1)
    bits = np.diff(tilt, axis=0) > 0
    words = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    heard = bands.sum(axis=1)[1:] > _SILENCE
    return AudioFingerprint(words[:most], heard[:most])


@cache
def _taps(ratio: int) -> npt.NDArray[np.float32]:
    """A low pass for resampling by this ratio."""
    taps = firwin(2 * _TAPS_ASIDE * ratio + 1, 1 / ratio, window=_TAPER)
    return np.asarray(taps, np.float32)
