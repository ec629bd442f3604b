"""What a file looks like from outside: its kind on disk, its first bytes, FFmpeg's format names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from data_prep.status import MissingFileError, NotMediaError, UnreadableError

STILL_OR_TEXT = frozenset(
    {"image2", "tty", "bin", "xbin", "idf", "adf", "txd", "ico", "ffmetadata", "srt", "webvtt",
     "ass", "lrc", "microdvd", "mpl2", "mpsub", "pjs", "realtext", "sami", "scc", "stl",
     "subviewer", "subviewer1", "vplayer", "jacosub", "aqtitle"}
)  # fmt: skip
POINTS_ELSEWHERE = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})
_STILL_BRANDS = frozenset(b"ftyp" + brand for brand in (b"avif", b"heic", b"heix", b"mif1"))
_HEAD_BYTES = 192
_CONTAINER_MAGIC = (
    *((4, box) for box in (b"ftyp", b"moov", b"mdat", b"styp", b"moof", b"sidx")),
    *((0, begin) for begin in (
        b"\x1a\x45\xdf\xa3", b"RIFF", b"RF64", b"FORM", b"OggS", b"FLV", b"ID3", b"fLaC", b"#!AMR",
        b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3", b"\x30\x26\xb2\x75", b"\x06\x0e\x2b\x34",
    )),
)  # fmt: skip

RAW_FORMATS = frozenset({"mp3", "aac", "h264", "hevc", "ac3", "eac3", "mpegvideo", "m4v", "obu"})
"""Formats without a container: without anything decodable in it, a file is of none."""


def looks_like_media(head: bytes) -> bool:
    transport_stream = head[:1] == b"\x47" and head[188:189] in (b"\x47", b"")
    return transport_stream or any(
        head[at : at + len(magic)] == magic for at, magic in _CONTAINER_MAGIC
    )


def is_indexed(head: bytes) -> bool:
    """Whether the file begins like MP4 or Matroska, whose headers describe streams in full."""
    return head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"


def first_bytes(path: str) -> bytes:
    """The file's beginning. Raises MediaError where it is no file that can be read."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISREG(mode):
            with Path(path).open("rb") as file:
                head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        dangling = os.path.islink(path)  # noqa: PTH114 - takes any name
        raise MissingFileError("a link to nothing" if dangling else "no such file") from None
    except ValueError:
        raise MissingFileError("no file can have this name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MissingFileError("no file can have so long a name") from error
        if error.errno == errno.ELOOP:
            raise MissingFileError("a link that leads back to itself") from error
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise UnreadableError("a folder whose files cannot be listed")
    if not stat.S_ISREG(mode):
        raise NotMediaError("not a regular file (a pipe, socket or device)")
    if not head:
        raise NotMediaError("the file is empty")
    return head


def still_brand(head: bytes) -> str:
    """The brand of a still image in an MP4's clothes (AVIF, HEIF), or ""."""
    return head[8:12].decode() if head[4:12] in _STILL_BRANDS else ""


def is_lone_segment(head: bytes) -> bool:
    """Whether the file begins as a segment of a stream does, without what it needs to be opened."""
    return head[4:8] in (b"styp", b"moof", b"sidx")
