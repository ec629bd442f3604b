"""Durations and counts exactly as container headers declare them.

FFmpeg adjusts these values to the data it finds before it reports them, but the difference between
the two is what tells a complete recording from a truncated one. Each reader parses a few fields of
the published layout and returns None (or 0) for a file that does not follow it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from data_prep.media.source import open_source

_UNKNOWN_32, _UNKNOWN_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_UNFINISHED = 0x7FFFF000  # sizes from here on are placeholders of writers that cannot seek back
_MAX_BOXES = 1000
_AVI_MORE_BYTES = 1 << 16  # after the RIFF chunk: up to this it is padding, beyond it OpenDML
_1904_TO_1970_S = 2_082_844_800
_OGG_PAGE_BYTES = 65_307  # the largest page: 27 + 255 bytes of header, 255 · 255 of data


def wav_length_s(path: str) -> float | None:
    """Duration in s: size of a WAV's data chunk over its byte rate (RIFF WAVE); None if unknown."""
    with open_source(path) as file:
        if file.read(12)[:4] != b"RIFF":
            return None
        bytes_per_s = 0.0
        for _ in range(_MAX_BOXES):
            head = file.read(8)
            if len(head) < 8:
                return None
            (size,) = struct.unpack("<I", head[4:])
            if head[:4] == b"fmt " and size >= 16:
                fields = file.read(16)
                bytes_per_s = wav_bytes_per_s(fields)
                file.seek(size - 16 + size % 2, 1)  # RIFF chunks are padded to an even length
            elif head[:4] == b"data":
                return size / bytes_per_s if bytes_per_s and 0 < size < _UNFINISHED else None
            else:
                file.seek(size + size % 2, 1)
    return None


def wav_bytes_per_s(fields: bytes, order: str = "<") -> float:
    """Byte rate by the contents of a WAV's fmt chunk; 0 if it is too short. order: "<" or ">"."""
    if len(fields) < 16:
        return 0.0
    tag, _, rate_hz, stated, frame_bytes = struct.unpack(f"{order}HHIIH", fields[:14])
    is_pcm = tag in (1, 3, 0xFFFE)  # integer, float, WAVE_FORMAT_EXTENSIBLE
    # some writers store a wrong byte rate; for PCM it follows from the other fields
    return float(rate_hz * frame_bytes if is_pcm else stated)


def avi_indexed(path: str, stream: int) -> int:
    """Number of frames of a stream in an AVI's index (idx1), including chunks without data.

    An empty chunk repeats the previous frame; FFmpeg skips it. Returns 0 if there is no index, or
    if the file goes on beyond what the index covers (OpenDML).
    """
    with open_source(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"AVI ":
            return 0
        at, end = 12, 8 + struct.unpack("<I", head[4:8])[0]
        if end > size + 1 or end < size - _AVI_MORE_BYTES:  # truncated, or OpenDML
            return 0
        for _ in range(_MAX_BOXES):
            file.seek(at)
            chunk = file.read(8)
            if len(chunk) < 8:
                return 0
            (length,) = struct.unpack("<I", chunk[4:])
            if chunk[:4] == b"idx1":
                index = file.read(min(length, size - at - 8))
                names = [f"{stream:02d}{kind}".encode() for kind in ("dc", "db")]
                # an entry has 16 bytes: chunk name, flags, offset, size
                return sum(index[k : k + 4] in names for k in range(0, len(index) - 15, 16))
            at += 8 + length + length % 2
    return 0


def mp3_length_s(path: str) -> float | None:
    """Duration in s by the frame count of an MP3's Xing or Info header; None without one."""
    with open_source(path) as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:  # its size is "syncsafe": 7 bits per byte
            size = sum((byte & 0x7F) << (21 - 7 * i) for i, byte in enumerate(head[6:10]))
            file.seek(10 + size)
        else:
            file.seek(0)
        frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 4 or len(frame) < at + 12 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return None
    flags, count = struct.unpack(">II", frame[at + 4 : at + 12])
    version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if not flags & 1 or version == 1 or rate_index == 3:  # no frame count; reserved values
        return None
    # MPEG-2 halves and MPEG-2.5 quarters the rates of MPEG-1
    rate_hz = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    return float(count * (1152 if version == 3 else 576) / rate_hz)


def mp4_lengths_s(path: str) -> list[float | None]:
    """Declared duration in s of each track of an MP4 or QuickTime file, in file order.

    Taken from the media header (mdhd), or from the edit list (elst) where that presents less
    (ISO 14496-12). None for a track that declares nothing.
    """
    with open_source(path) as file:
        end = file.seek(0, 2)
        lengths = []
        for moov in _boxes(file, 0, end, b"moov"):
            movie_scale = next((_fields(file, *at)[0] for at in _boxes(file, *moov, b"mvhd")), 0)
            for trak in _boxes(file, *moov, b"trak"):
                media = [_fields(file, *at) for mdia in _boxes(file, *trak, b"mdia")
                         for at in _boxes(file, *mdia, b"mdhd")]  # fmt: skip
                scale, length = media[0] if media else (0, 0)
                shown_s = _shown_s(file, trak, movie_scale)
                length_s = length / scale if scale and length else None
                if length_s is not None and shown_s is not None:
                    length_s = min(length_s, shown_s)
                lengths.append(length_s)
        return lengths


def mp4_recorded_s(path: str) -> float | None:
    """Creation time of an MP4 or QuickTime file (mvhd), in s since 1970; None if not set."""
    with open_source(path) as file:
        end = file.seek(0, 2)
        for moov in _boxes(file, 0, end, b"moov"):
            for start, _ in _boxes(file, *moov, b"mvhd"):
                file.seek(start)
                data = file.read(12)
                if len(data) == 12:
                    wide = data[:1] == b"\x01"
                    since_1904 = struct.unpack(">Q" if wide else ">I", data[4 : 12 if wide else 8])
                    recorded_s = float(since_1904[0] - _1904_TO_1970_S)
                    return recorded_s if recorded_s > 0 else None  # 0 (1904) means "not set"
    return None


def _boxes(file: IO[bytes], start: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of the payload of each box of a kind in a byte range (ISO 14496-12)."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, name, header = struct.unpack(">I", head[:4])[0], head[4:8], 8
        if size == 1 and len(head) == 16:  # the size follows in 64 bits
            size, header = struct.unpack(">Q", head[8:])[0], 16
        stop = end if size == 0 else start + size  # 0: the last box, up to the end of the file
        if stop < start + header:
            return
        if name == kind:
            yield start + header, min(stop, end)
        start = stop


def _fields(file: IO[bytes], start: int, end: int) -> tuple[int, int]:
    """(timescale, duration in its units) of an mvhd or mdhd box; 0 if unknown."""
    file.seek(start)
    data = file.read(min(end - start, 32))
    wide = data[:1] == b"\x01"
    if len(data) < (32 if wide else 20):
        return 0, 0
    scale, length = struct.unpack(*((">IQ", data[20:32]) if wide else (">II", data[12:20])))
    return scale, 0 if length == (_UNKNOWN_64 if wide else _UNKNOWN_32) else length


def _shown_s(file: IO[bytes], trak: tuple[int, int], movie_scale: int) -> float | None:
    """Seconds of the track that its edit list presents; None without a usable edit list."""
    for edts in _boxes(file, *trak, b"edts"):
        for start, end in _boxes(file, *edts, b"elst"):
            file.seek(start)
            data = file.read(min(end - start, 8 + 20 * _MAX_BOXES))
            wide = data[:1] == b"\x01"
            form = ">Qq4x" if wide else ">Ii4x"
            usable = 8 + (len(data) - 8) // struct.calcsize(form) * struct.calcsize(form)
            edits = list(struct.iter_unpack(form, data[8:usable])) if len(data) >= 8 else []
            shown = [length for length, media_time in edits if media_time >= 0]  # −1: an empty edit
            if shown and all(shown) and movie_scale:
                return float(sum(shown) / movie_scale)
    return None


def missing_end(path: str, container: str) -> str:
    """Message that a GIF, APNG or Ogg lacks the end marker of its format, or ""."""
    if container not in ("gif", "apng", "ogg"):
        return ""
    with open_source(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * _OGG_PAGE_BYTES))
        end = file.read()
    if container == "gif":
        has_end = b"\x3b" in end[-4:]  # some writers pad after the trailer
    elif container == "apng":
        has_end = b"IEND" in end[-64:]
    else:
        page = end.rfind(b"OggS")
        has_end = page < 0 or len(end) < page + 6 or bool(end[page + 5] & 4)  # EOS flag
    return "" if has_end else "the end of the file is missing"
