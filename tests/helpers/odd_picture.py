"""Videos as cameras and editors leave them: turned, mirrored, raw, with pictures left out.

Every picture carries its own number (12 bits as black and white blocks) and four coloured corners:
red top left, green top right, blue bottom left, white bottom right.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from tests.helpers.ffmpeg import ffmpeg

W, H, RATE_HZ = 128, 96, 25
CORNERS = {"R": (220, 30, 30), "G": (30, 200, 30), "B": (30, 30, 220), "W": (235, 235, 235)}
MATRICES = {  # a, b, c, d: shown x = a·x + c·y, shown y = b·x + d·y (x right, y down)
    "upright": (1, 0, 0, 1), "mirrored": (-1, 0, 0, 1), "flipped": (1, 0, 0, -1),
    "turned_180": (-1, 0, 0, -1), "clockwise": (0, 1, -1, 0), "counter_clockwise": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0), "transverse": (0, -1, -1, 0), "nothing": (0, 0, 0, 0),
}  # fmt: skip
_BLOCK = 16


def picture(n: int) -> np.ndarray:
    """uint8 [H, W, C] that says n (0 … 4095)."""
    out = np.full((H, W, 3), 128, np.uint8)
    out[:20, :20], out[:20, -20:], out[-20:, :20], out[-20:, -20:] = CORNERS.values()
    for bit in range(12):
        row, column = divmod(bit, 6)
        y, x = 24 + row * 24, 16 + column * _BLOCK
        out[y : y + 24, x : x + _BLOCK] = 225 if n >> bit & 1 else 25
    return out


def number(shown: np.ndarray) -> int:
    """The number in an upright picture [h, w, C] of any size."""
    grey, n = shown.mean(axis=2), 0
    h, w = grey.shape
    for bit in range(12):
        row, column = divmod(bit, 6)
        y, x = 24 + row * 24, 16 + column * _BLOCK
        part = grey[(y + 8) * h // H : (y + 16) * h // H, (x + 5) * w // W : (x + 11) * w // W]
        n |= int(part.mean() > 125) << bit
    return n


def corners(shown: np.ndarray) -> str:
    """The letters of the corners: top left, top right, bottom left, bottom right."""
    h, w = shown.shape[:2]
    found = ""
    for y in (h // 16, h - 1 - h // 16):
        for x in (w // 16, w - 1 - w // 16):
            of = {letter: int(np.abs(shown[y, x].astype(int) - colour).sum())
                  for letter, colour in CORNERS.items()}  # fmt: skip
            found += min(of, key=of.__getitem__)
    return found


def encode(
    path: Path, *options: object, numbers: Iterable[int] = range(60), rate: object = RATE_HZ
) -> Path:
    """Pictures with these numbers, through the ffmpeg command."""
    raw = b"".join(picture(n).tobytes() for n in numbers)
    ffmpeg(
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{W}x{H}", "-r", rate, "-i", "-",
        "-pix_fmt", "yuv420p", *options, path, data=raw,
    )  # fmt: skip
    return path


def with_matrix(path: Path, out: Path, name: str) -> Path:
    """A copy of an MP4 with another display matrix in the track's header (tkhd)."""
    a, b, c, d = MATRICES[name]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 4 + (32 if data[at] else 20) + 16
    x, y = (W if a < 0 else 0) + (H if c < 0 else 0), (W if b < 0 else 0) + (H if d < 0 else 0)
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, x * one, y * one,
                     1 << 30)  # fmt: skip
    out.write_bytes(data)
    return out


def packets(path: Path) -> list[bytes]:
    """What is coded of the picture, in the order it is decoded."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]


def annexb(path: Path) -> list[bytes]:
    """The same of H.264 with start codes and parameter sets."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        as_stream = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        return [
            bytes(q)
            for p in container.demux(stream)
            for q in as_stream.filter(p if p.size else None)
            if q.size
        ]


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def avi(path: Path, coded: Sequence[bytes], fourcc: bytes, key_every: int) -> Path:
    """coded: what each picture's chunk holds; b"" means the same picture again."""
    n, largest = len(coded), max(map(len, coded))
    main = struct.pack("<14I", 40_000, 0, 0, 16, n, 0, 1, largest, W, H, 0, 0, 0, 0)
    stream = (
        b"vids"
        + fourcc
        + struct.pack(
            "<IHHIIIIIIII4H", 0, 0, 0, 0, 1, RATE_HZ, 0, n, largest, 0xFFFFFFFF, 0, 0, 0, W, H
        )
    )
    kind = struct.pack("<IiiHH4sIiiII", 40, W, H, 1, 24, fourcc, W * H * 3, 0, 0, 0, 0)
    of_stream = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", kind))
    index, movie, at = b"", b"movi", 4
    for k, data in enumerate(coded):
        flag = 16 if data and k % key_every == 0 else 0
        index += b"00dc" + struct.pack("<III", flag, at, len(data))
        movie += _chunk(b"00dc", data)
        at = len(movie)
    path.write_bytes(_chunk(b"RIFF", b"AVI " + _chunk(b"LIST", b"hdrl" + _chunk(b"avih", main)
                     + of_stream) + _chunk(b"LIST", movie) + _chunk(b"idx1", index)))  # fmt: skip
    return path


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(f"{byte:08b}" for byte in data), 0

    def bits(self, n: int) -> int:
        self.at += n
        return int(self.text[self.at - n : self.at], 2)

    def exp_golomb(self) -> int:
        n = 0
        while not self.bits(1):
            n += 1
        return (1 << n) - 1 + (self.bits(n) if n else 0)


def without_rate(stream: bytes) -> bytes:
    """An H.264 stream whose parameter sets (ISO 14496-10, 7.3.2.1.1) state no timing."""
    parts = re.split(rb"(\x00\x00\x00\x01|\x00\x00\x01)", stream)
    return b"".join(
        _no_vui(part) if len(part) > 4 and part[0] & 31 == 7 else part for part in parts
    )


def _no_vui(unit: bytes) -> bytes:
    raw = unit[1:].replace(b"\0\0\3", b"\0\0")
    sps = _Bits(raw)
    profile = sps.bits(8)
    sps.bits(16)
    sps.exp_golomb()
    if profile in (100, 110, 122, 244):
        sps.exp_golomb(), sps.exp_golomb(), sps.exp_golomb(), sps.bits(2)
    sps.exp_golomb()
    if sps.exp_golomb() == 0:
        sps.exp_golomb()
    sps.exp_golomb(), sps.bits(1), sps.exp_golomb(), sps.exp_golomb()
    if not sps.bits(1):
        sps.bits(1)
    sps.bits(1)
    if sps.bits(1):
        [sps.exp_golomb() for _ in range(4)]
    kept = sps.text[: sps.at] + "01"  # no VUI, and the end
    kept += "0" * (-len(kept) % 8)
    found, zeros = bytearray(), 0
    for byte in (int(kept[i : i + 8], 2) for i in range(0, len(kept), 8)):
        if zeros == 2 and byte <= 3:
            found.append(3)
            zeros = 0
        found.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return unit[:1] + bytes(found)
