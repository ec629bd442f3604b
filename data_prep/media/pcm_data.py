"""Audio files whose header does not say where the sample data ends.

A recorder that loses power never writes the length back; in a WAV of more than 4 GiB the 32-bit
length has wrapped around. Decoders stop at the declared length or scan what follows for chunks. If
no chunk follows the declared end, the rest is samples too, and the decoder gets the file with a
corrected header (`PcmFile`). Supports WAV, RF64, BW64, Wave64, AIFF, AIFC, CAF and AU.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from data_prep.media.container_headers import wav_bytes_per_s
from data_prep.media.source import open_source

_OPEN_32, _OPEN_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF  # lengths that mean "to the end"
_MOST_CHUNKS = 10_000
_MOST_FORMAT_BYTES = 64 * 1024
_MOST_HEAD_BYTES = 16 << 20  # of everything before the data, which is kept in memory
_BLOCK_BYTES = 1 << 20
_JUNK_BYTES, _JUNK_SHARE = 4096, 0.01  # after the data: too little to be part of a recording
# Chunks that occur after the data; they are recognised even if truncated.
_KNOWN = frozenset(
    {b"LIST", b"INFO", b"bext", b"iXML", b"axml", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"fact",
     b"inst", b"plst", b"PEAK", b"JUNK", b"junk", b"FLLR", b"PAD ", b"DISP", b"_PMX", b"wamd",
     b"guan", b"umid", b"levl", b"chna", b"strc", b"MARK", b"COMT", b"ANNO", b"NAME", b"AUTH",
     b"(c) ", b"APPL", b"INST", b"MIDI", b"AESD", b"FVER", b"CHAN", b"info", b"data", b"afsp",
     b"minf", b"elm1", b"regn", b"link", b"ovwf", b"peak", b"strg", b"mark", b"uuid", b"free"}
)  # fmt: skip
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # appended by taggers to files of any format
# The name of a Wave64 chunk is a GUID: the WAV name, then these bytes.
_W64_REST = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")


@dataclass(frozen=True)
class _Data:
    """The data chunk as its header describes it.

    start         offset of the first byte of sample data
    declared      length in bytes, None if the header leaves it open
    end_confirmed whether the declared end is followed by a chunk, a tag or the end of the file
    head          makes the header to show to the decoder, given the number of data bytes
    bytes_per_s   byte rate of the samples, 0 if unknown
    more_parts    further byte ranges [first, last) of sample data: some recorders write several
    """

    start: int
    declared: int | None
    end_confirmed: bool
    head: Callable[[int], bytes]
    bytes_per_s: float
    more_parts: tuple[tuple[int, int], ...] = ()
    max_bytes: int | None = None
    """Largest data length that a header of this format can declare; None if unlimited."""
    is_counted_elsewhere: bool = False
    """The header also counts packets, so a new data length alone would not be consistent."""
    is_misread: bool = False
    """FFmpeg would misread the data: an odd chunk before it lacks its pad byte, or samples have
    fewer valid bits than their container size."""


@dataclass(frozen=True)
class PcmView:
    """A file as the decoder gets it: a corrected header, then byte ranges [first, last)."""

    head: bytes
    parts: tuple[tuple[int, int], ...]
    remark: str = ""
    problem: str = ""
    """Why part of the sample data cannot be read, or ""."""


def pcm_view(path: str) -> PcmView | None:
    """How to read all of a file whose header or end would mislead a decoder; None for other files.

    The remark says that the header declares less than the file holds. Files that leave the length
    open (0xFFFFFFFF, or 0 followed by data) are read to the end without a remark.
    """
    with open_source(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = _data_in(file, size)
        if data is None or data.start >= size:
            return None
        actual = size - data.start
        if data.max_bytes is not None and actual > data.max_bytes:
            problem = (
                f"its header can declare {data.max_bytes} bytes of sound, the file holds {actual}"
            )
            first = (data.start, data.start + data.max_bytes)
            return PcmView(data.head(data.max_bytes), (first,), problem=problem)
        if data.more_parts:
            first = (data.start, data.start + (data.declared or 0))
            parts = (first, *((start, min(size, end)) for start, end in data.more_parts))
            return PcmView(data.head(sum(b - a for a, b in parts)), parts)
        if data.declared is None and not data.end_confirmed:  # left open: not damaged
            return PcmView(data.head(actual), ((data.start, size),))
        declared = data.declared or 0
        if declared >= actual or data.end_confirmed:
            last = min(size, data.start + declared)
            declared_view = PcmView(data.head(last - data.start), ((data.start, last),))
            return declared_view if data.is_misread else None
        if _is_junk(file, data.start + declared, size, declared):
            return PcmView(data.head(declared), ((data.start, data.start + declared),))
    remark = f"its header declares {declared} bytes of sound, the file holds {actual}"
    if data.is_counted_elsewhere:
        first = (data.start, data.start + declared)
        return PcmView(data.head(declared), (first,), problem=remark)
    if data.bytes_per_s:
        declared_s, actual_s = declared / data.bytes_per_s, actual / data.bytes_per_s
        remark = f"its header declares {declared_s:.2f} s of sound, the file holds {actual_s:.2f} s"
    return PcmView(data.head(actual), ((data.start, size),), f"{remark}: all of it is read")


def declared_pcm_s(path: str) -> float | None:
    """Declared duration in s; None if the header leaves it open or the byte rate is unknown."""
    with open_source(path) as file:
        data = _data_in(file, os.fstat(file.fileno()).st_size)
    if data is None or not data.declared or not data.bytes_per_s:
        return None
    more = sum(end - start for start, end in data.more_parts)
    return (data.declared + more) / data.bytes_per_s


def _data_in(file: IO[bytes], size: int) -> _Data | None:
    """The data chunk; None for other formats, and a damaged header (the decoder reports it)."""
    reader = _READERS.get(file.read(4))
    try:
        return None if reader is None else reader(file, size)
    except (struct.error, OverflowError, ValueError, OSError):
        return None


class PcmFile(io.RawIOBase):
    """A `PcmView` as a seekable, readable file object."""

    def __init__(self, path: str, view: PcmView) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - closed with this object
        self._head, self._parts = view.head, view.parts
        self._size = len(view.head) + sum(last - first for first, last in view.parts)
        self._at = 0
        self.name = path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._at if size < 0 else min(size, self._size - self._at)
        data = bytearray()
        while left > 0:
            piece = self._piece(left)
            if not piece:
                break
            data += piece
            self._at += len(piece)
            left -= len(piece)
        return bytes(data)

    def _piece(self, max_bytes: int) -> bytes:
        if self._at < len(self._head):
            return self._head[self._at : self._at + max_bytes]
        offset = self._at - len(self._head)
        for first, last in self._parts:
            if offset < last - first:
                self._file.seek(first + offset)
                return self._file.read(min(max_bytes, last - first - offset))
            offset -= last - first
        return b""

    def close(self) -> None:
        self._file.close()
        super().close()


def _chunks(
    file: IO[bytes], at: int, size: int, order: str, wide: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of the contents, length) of each chunk; wide: 64-bit lengths, as in CAF."""
    head = 12 if wide else 8
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        header = file.read(head)
        if len(header) < head:
            return
        (length,) = struct.unpack(f"{order}{'q' if wide else 'I'}", header[4:])
        yield header[:4], at + head, length
        if length < 0:  # CAF: −1, up to the end of the file
            return
        at += head + length
        if length % 2 and not wide:  # followed by a pad byte, which some writers leave out
            file.seek(at)
            pad_and_name = file.read(5)
            at += 0 if pad_and_name[:4] in _KNOWN and pad_and_name[1:] not in _KNOWN else 1


def _followed(file: IO[bytes], end: int, size: int, order: str, wide: bool = False) -> bool:
    """Whether an offset is followed by a list of chunks, a tag or the end of the file."""
    if end >= size - 3:
        return True
    file.seek(end)
    if file.read(8).startswith(_TAGS):
        return True
    chunk_end = end
    for name, start, length in _chunks(file, end, size, order, wide):
        if not _is_name(name) or length < 0:
            break
        chunk_end = start + length
        if chunk_end > size + 1:
            return name in _KNOWN  # truncated within this chunk
    return chunk_end > end and chunk_end >= size - 8


def _ends(start: int, length: int) -> list[int]:
    """Possible offsets of the next chunk: some writers leave out the pad byte of an odd length."""
    return [start + length + length % 2, start + length] if length % 2 else [start + length]


def _is_name(name: bytes) -> bool:
    return name in _KNOWN or (len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name))


def _is_junk(file: IO[bytes], end: int, size: int, declared: int) -> bool:
    """Whether the rest is filler (a preallocated file) or too short to matter."""
    if size - end <= min(_JUNK_BYTES, _JUNK_SHARE * declared):
        return True
    file.seek(end)
    first = file.read(1)
    if first not in (b"\0", b"\xff"):  # what preallocated disk and erased flash memory hold
        return False
    file.seek(end)
    while block := file.read(_BLOCK_BYTES):
        if block.count(first) != len(block):
            return False
    return True


def _wav(file: IO[bytes], size: int) -> _Data | None:
    """RIFF and RIFX WAVE, RF64 (EBU 3306), BW64 (ITU-R BS.2088)."""
    file.seek(0)
    form = file.read(12)
    if form[8:] != b"WAVE":
        return None
    order = ">" if form[:4] == b"RIFX" else "<"
    is_long, long_bytes = form[:4] in (b"RF64", b"BW64"), None
    fmt, data, padded_end, has_padded_samples = b"", None, 12, False
    for name, start, length in _chunks(file, 12, size, order):
        # FFmpeg always skips a pad byte: without one, it would miss the chunk that follows
        is_misread, padded_end = start - 8 != padded_end, start + length + length % 2
        file.seek(start)
        if name == b"ds64" and length >= 24:
            (long_bytes,) = struct.unpack("<8xQ", file.read(16))
        elif name == b"fmt " and 16 <= length <= _MOST_FORMAT_BYTES:
            fmt = file.read(length)
            has_padded_samples = _with_all_bits_valid(fmt, order) != fmt
            fmt = _with_all_bits_valid(fmt, order)
        elif name == b"data" and data is None:
            declared = _declared_wav(length, is_long, long_bytes)
            ends = _ends(start, declared or 0)
            confirmed = any(_followed(file, end, size, order) for end in ends)
            if length == _OPEN_32 and not is_long:
                confirmed = True  # FFmpeg itself reads such a file to its end
            data = _Data(
                start, declared, confirmed, partial(_wav_head, form[:4], fmt),
                wav_bytes_per_s(fmt, order), is_misread=is_misread or has_padded_samples,
            )  # fmt: skip
            if declared is None or not confirmed:
                return data
        elif name == b"data" and data is not None and data.declared and order == "<":
            end = size if length == _OPEN_32 else start + length  # may be after the end of the file
            data = replace(data, more_parts=(*data.more_parts, (start, end)))
    return data


def _with_all_bits_valid(fmt: bytes, order: str) -> bytes:
    """The fmt chunk with the number of valid bits set to the size of a sample."""
    if len(fmt) < 40:
        return fmt
    tag, bits, valid = (struct.unpack_from(f"{order}H", fmt, at)[0] for at in (0, 14, 18))
    if tag != 0xFFFE or not 0 < valid < bits:
        return fmt
    # 24 valid bits of 32 are the top ones, but FFmpeg would read samples of 24 bits
    return _patched(fmt, {18: struct.pack(f"{order}H", bits)})


def _declared_wav(length: int, is_long: bool, long_bytes: int | None) -> int | None:
    if is_long and (length == _OPEN_32 or long_bytes):  # ds64 holds the length of RF64
        return None if long_bytes in (None, 0, _OPEN_64) else long_bytes
    return None if length in (0, _OPEN_32) else length


def _wav_head(form: bytes, fmt: bytes, n_bytes: int) -> bytes:
    """A WAV header; n_bytes is not needed."""
    name, order = (b"RIFX", ">") if form == b"RIFX" else (b"RIFF", "<")
    chunk = fmt + bytes(len(fmt) % 2)
    open_ = struct.pack(f"{order}I", _OPEN_32)  # makes FFmpeg read to the end of the file
    length = struct.pack(f"{order}I", len(fmt))
    return name + open_ + b"WAVEfmt " + length + chunk + b"data" + open_


def _w64(file: IO[bytes], size: int) -> _Data | None:
    """Sony Wave64: GUIDs as chunk names, 64-bit lengths that include the 24 bytes of the header."""
    file.seek(0)
    if file.read(16) != _W64_RIFF:
        return None
    at, fmt = 40, b""
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(24)
        if len(head) < 24:
            return None
        (length,) = struct.unpack("<Q", head[16:])
        if head[:4] == b"fmt " and 40 <= length <= _MOST_FORMAT_BYTES:
            fmt = file.read(length - 24)
        if head[:16] == b"data" + _W64_REST:
            is_open = length <= 24 or length >= 1 << 63
            declared = None if is_open else length - 24
            end = at + (24 if is_open else length + -length % 8)  # chunks are aligned to 8 bytes
            return _Data(
                at + 24, declared, _w64_follows(file, end, size),
                partial(_wav_head, b"RIFF", fmt), wav_bytes_per_s(fmt),
            )  # fmt: skip
        if length < 24:
            return None
        at += length + -length % 8
    return None


def _w64_follows(file: IO[bytes], end: int, size: int) -> bool:
    file.seek(end)
    return end >= size - 7 or file.read(16)[4:] == _W64_REST


def _aiff(file: IO[bytes], size: int) -> _Data | None:
    """AIFF and AIFC: big-endian chunks; the samples are in SSND, after 8 bytes of fields."""
    file.seek(0)
    form = file.read(12)[8:]
    if form not in (b"AIFF", b"AIFC"):
        return None
    comm, frames_at = _Comm(0, 0, 0.0, b""), 0
    for name, start, length in _chunks(file, 12, size, ">"):
        file.seek(start)
        if name == b"COMM" and length >= 18:
            frames_at = start + 2
            channels, _, bits, exponent, mantissa = struct.unpack(">HIHHQ", file.read(18))
            # the sample rate is an 80-bit extended float, of bias 16383 with 63 fraction bits
            rate_hz = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63) if exponent else 0.0
            kind = file.read(4) if form == b"AIFC" and length >= 22 else b"NONE"
            comm = _Comm(channels, bits, rate_hz, kind)
        elif name == b"SSND" and start <= _MOST_HEAD_BYTES:
            is_open = length in (0, 8, _OPEN_32)
            file.seek(0)
            before = file.read(start + 8)
            head = partial(_aiff_head, before, start, comm, frames_at)
            ends = [start + 8] if is_open else _ends(start, length)
            confirmed = any(_followed(file, end, size, ">") for end in ends)
            declared = None if is_open else max(0, length - 8)
            bytes_per_s = comm.rate_hz * comm.frame_bytes
            max_bytes = None if bytes_per_s else _AIFF_ROOM_BYTES - start - 16
            return _Data(
                start + 8, declared, confirmed, head, bytes_per_s, max_bytes=max_bytes,
                is_counted_elsewhere=not bytes_per_s,
            )  # fmt: skip
    return None


# AIFC sample types in CAF's terms: format (empty for unsigned), flags, bytes (0: by the bit depth)
_AIFC_SAMPLES = {
    b"raw ": (b"", 0, 1),
    b"NONE": (b"lpcm", 0, 0), b"twos": (b"lpcm", 0, 0), b"sowt": (b"lpcm", 2, 0),
    b"in24": (b"lpcm", 0, 3), b"in32": (b"lpcm", 0, 4), b"fl32": (b"lpcm", 1, 4),
    b"FL32": (b"lpcm", 1, 4), b"fl64": (b"lpcm", 1, 8), b"FL64": (b"lpcm", 1, 8),
    b"ulaw": (b"ulaw", 0, 1), b"ULAW": (b"ulaw", 0, 1), b"alaw": (b"alaw", 0, 1),
    b"ALAW": (b"alaw", 0, 1),
}  # fmt: skip
_AIFF_ROOM_BYTES = _OPEN_32  # largest file with 32-bit lengths


@dataclass(frozen=True)
class _Comm:
    """The COMM chunk of an AIFF: its sample format."""

    channels: int
    bits: int
    rate_hz: float
    kind: bytes

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels; 0 for codecs with packets."""
        if self.kind not in _AIFC_SAMPLES:
            return 0
        return self.channels * (_AIFC_SAMPLES[self.kind][2] or -(-self.bits // 8))

    def without_bound(self, n_bytes: int) -> bytes:
        """A header of another format for the same samples, without the limit of 32-bit lengths."""
        kind, flags, _ = _AIFC_SAMPLES[self.kind]
        if not kind:  # CAF has no unsigned samples; a WAV is read to its end whatever its length
            rate_hz = round(self.rate_hz)
            fields = (1, self.channels, rate_hz, rate_hz * self.channels, self.channels, 8)
            return _wav_head(b"RIFF", struct.pack("<HHIIHH", *fields), n_bytes)
        bits = 8 * self.frame_bytes // self.channels
        packets = (flags, self.frame_bytes, 1, self.channels, bits)
        desc = struct.pack(">d4s5I", self.rate_hz, kind, *packets)
        data = struct.pack(">4sqI", b"data", n_bytes + 4, 0)  # starts with a 4-byte edit count
        return b"caff" + struct.pack(">HH4sq", 1, 0, b"desc", len(desc)) + desc + data


def _aiff_head(before: bytes, start: int, comm: _Comm, frames_at: int, n_bytes: int) -> bytes:
    max_bytes = _AIFF_ROOM_BYTES - start - 16
    if n_bytes > max_bytes and comm.frame_bytes and comm.rate_hz:
        return comm.without_bound(n_bytes)
    fields = {4: start + n_bytes, start - 4: n_bytes + 8}
    if frames_at and comm.frame_bytes:
        fields[frames_at] = n_bytes // comm.frame_bytes
    return _patched(before, {offset: struct.pack(">I", field) for offset, field in fields.items()})


def _patched(head: bytes, fields: dict[int, bytes]) -> bytes:
    out = bytearray(head)
    for offset, field in fields.items():
        out[offset : offset + len(field)] = field
    return bytes(out)


def _caf(file: IO[bytes], size: int) -> _Data | None:
    """Apple's Core Audio Format: 64-bit lengths, −1 for "to the end"."""
    bytes_per_s = 0.0
    for name, start, length in _chunks(file, 8, size, ">", wide=True):
        file.seek(start)
        if name == b"desc" and length >= 32:
            rate_hz, _, _, per_packet, frames = struct.unpack(">d4sIII", file.read(24))
            bytes_per_s = rate_hz * per_packet / frames if frames else 0.0
        elif name == b"data" and start <= _MOST_HEAD_BYTES:
            file.seek(0)
            before = file.read(start + 4)
            # with a length of −1 FFmpeg reports a last packet longer than its data
            return _Data(
                start + 4, None if length <= 4 else length - 4,
                length >= 0 and _followed(file, start + length, size, ">", wide=True),
                partial(_caf_head, before, start - 8), bytes_per_s,
            )  # fmt: skip
    return None


# Encoding → bytes of a sample: µ-law, PCM of 8 to 32 bits, float and double, A-law.
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def _caf_head(before: bytes, at: int, n_bytes: int) -> bytes:
    return _patched(before, {at: struct.pack(">q", n_bytes + 4)})


def _au_head(before: bytes, n_bytes: int) -> bytes:
    return _patched(before, {8: struct.pack(">I", _OPEN_32)})


def _au(file: IO[bytes], size: int) -> _Data | None:
    """Sun's AU: a single header, length 0xFFFFFFFF for "to the end"."""
    file.seek(0)
    fields = file.read(24)
    if len(fields) < 24:
        return None
    start, length, encoding, rate_hz, channels = struct.unpack(">IIIII", fields[4:])
    file.seek(0)
    before = file.read(min(start, _MOST_FORMAT_BYTES))
    end = start + (0 if length in (0, _OPEN_32) else length)
    file.seek(end)
    return _Data(
        start, None if end == start else length,
        end >= size or length == _OPEN_32 or file.read(8).startswith(_TAGS),
        partial(_au_head, before),
        rate_hz * channels * _AU_BYTES.get(encoding, 0),
    )  # fmt: skip


_READERS: dict[bytes, Callable[[IO[bytes], int], _Data | None]] = {
    b"RIFF": _wav, b"RIFX": _wav, b"RF64": _wav, b"BW64": _wav, b"riff": _w64, b"FORM": _aiff,
    b"caff": _caf, b".snd": _au,
}  # fmt: skip
