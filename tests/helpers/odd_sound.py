"""Sound files as recorders leave them: headers that lie, many channels, floating point."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
_W64_REST = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_GUID_REST = bytes.fromhex("00001000800000aa00389b71")
OPEN = 0xFFFFFFFF


def clicks(seconds: float, at_s: tuple[float, ...], rate_hz: int = RATE_HZ) -> np.ndarray:
    """float64 [S]: soft noise, with loud samples at these times."""
    wave = np.random.default_rng(0).normal(0, 0.002, round(seconds * rate_hz))
    for time_s in at_s:
        wave[round(time_s * rate_hz)] = 0.9
    return wave


def tones(n_channels: int, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """float64 [S, C]: channel c holds 200 + 40 c Hz at 0.5."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.stack([0.5 * np.sin(2 * np.pi * (200 + 40 * c) * t) for c in range(n_channels)], 1)


def level(wave: np.ndarray, hz: float, rate_hz: int = RATE_HZ) -> float:
    """Amplitude of a tone in a sound of whole periods."""
    t = np.arange(wave.size) / rate_hz
    return float(2 * abs((wave * np.exp(-2j * np.pi * hz * t)).mean()))


def pcm(wave: np.ndarray, kind: str = "<i2") -> bytes:
    """Samples in ±1 as whole numbers or floats of this numpy type."""
    dtype = np.dtype(kind)
    if dtype.kind == "i":
        wave = np.clip(wave, -1, 1) * (2 ** (8 * dtype.itemsize - 1) - 1)
    elif dtype.kind == "u":
        wave = np.clip(wave, -1, 1) * 127 + 128
    return wave.astype(dtype).tobytes()


def form(
    channels: int = 1, rate_hz: int = RATE_HZ, kind: str = "<i2", mask: int | None = None
) -> bytes:
    """The fmt chunk's contents; mask: of loudspeakers, None for the short form."""
    dtype = np.dtype(kind)
    tag, frame = 3 if dtype.kind == "f" else 1, channels * dtype.itemsize
    fields = (channels, rate_hz, rate_hz * frame, frame, 8 * dtype.itemsize)
    if mask is None:
        return struct.pack("<HHIIHH", tag, *fields)
    more = struct.pack("<HHI", 22, 8 * dtype.itemsize, mask) + struct.pack("<I", tag) + _GUID_REST
    return struct.pack("<HHIIHH", 0xFFFE, *fields) + more


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return name + struct.pack("<I", length) + body + bytes(len(body) % 2)


def wav(
    path: Path, data: bytes, length: int | None = None, tail: bytes = b"", magic: bytes = b"RIFF",
    long_length: int | None = None, fmt: bytes | None = None, before: bytes = b"",
) -> Path:  # fmt: skip
    """length: of the data, as the header has it. long_length: in a ds64 chunk, None without one."""
    body = b"WAVE"
    if long_length is not None:
        body += chunk(b"ds64", struct.pack("<QQQI", 0, long_length, 0, 0))
    body += chunk(b"fmt ", form() if fmt is None else fmt) + before
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data + tail
    path.write_bytes(magic + struct.pack("<I", min(len(body), OPEN)) + body)
    return path


def recorded(
    path: Path, channels: np.ndarray, kind: str = "<i2", rate_hz: int = RATE_HZ,
    mask: int | None = None,
) -> Path:  # fmt: skip
    """A WAV of float [S, C]."""
    fmt = form(channels.shape[1], rate_hz, kind, mask)
    return wav(path, pcm(channels, kind), fmt=fmt)


def w64(path: Path, data: bytes, length: int | None = None) -> Path:
    length = len(data) + 24 if length is None else length
    path.write_bytes(
        b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 104 + len(data))
        + b"wave" + _W64_REST + b"fmt " + _W64_REST + struct.pack("<Q", 40) + form()
        + b"data" + _W64_REST + struct.pack("<Q", length) + data
    )  # fmt: skip
    return path


def aiff(
    path: Path, data: bytes, length: int | None = None, frames: int | None = None,
    kind: bytes = b"", bits: int = 16, n_channels: int = 1,
) -> Path:  # fmt: skip
    """data: big-endian. length: of SSND with its eight bytes; kind: of samples, in an AIFC."""
    length = len(data) + 8 if length is None else length
    rate = struct.pack(">HQ", 16383 + 13, RATE_HZ << (63 - 13))
    frames = len(data) // 2 if frames is None else frames
    comm = struct.pack(">HIH", n_channels, frames, bits) + rate + (kind + b"\0\0" if kind else b"")
    body = (b"AIFC" if kind else b"AIFF") + b"COMM" + struct.pack(">I", len(comm)) + comm
    body += b"SSND" + struct.pack(">III", length, 0, 0) + data
    path.write_bytes(b"FORM" + struct.pack(">I", len(body)) + body)
    return path


def caf(path: Path, data: bytes, length: int | None = None) -> Path:
    """data: big-endian. length: of the data with its four bytes, -1 for open."""
    length = len(data) + 4 if length is None else length
    description = struct.pack(">d4sIIIII", RATE_HZ, b"lpcm", 0, 2, 1, 1, 16)
    path.write_bytes(
        b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", 32) + description
        + b"data" + struct.pack(">qI", length, 0) + data
    )  # fmt: skip
    return path


def au(path: Path, data: bytes, length: int | None = None) -> Path:
    """data: big-endian."""
    length = len(data) if length is None else length
    path.write_bytes(b".snd" + struct.pack(">IIIII", 24, length, 3, RATE_HZ, 1) + data)
    return path
