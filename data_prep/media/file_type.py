"""File type from the outside: kind of file on disk, first bytes, FFmpeg's format names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from data_prep.media.source import open_source
from data_prep.status import MissingFileError, NotMediaError, UnreadableError

# Demuxers of FFmpeg that open still images, text files and subtitles as if they were media.
STILL_OR_TEXT = frozenset(
    {"image2", "tty", "bin", "xbin", "idf", "adf", "txd", "ico", "ffmetadata", "srt", "webvtt",
     "ass", "lrc", "microdvd", "mpl2", "mpsub", "pjs", "realtext", "sami", "scc", "stl",
     "subviewer", "subviewer1", "vplayer", "jacosub", "aqtitle"}
)  # fmt: skip
POINTS_ELSEWHERE = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})
_STILL_BRANDS = frozenset(b"ftyp" + brand for brand in (b"avif", b"heic", b"heix", b"mif1"))
_HEAD_BYTES = 192  # one MPEG-TS packet of 188 bytes and the sync byte of the next
_CONTAINER_MAGIC = (
    # MP4 and QuickTime: the box name follows its size
    *((4, box) for box in (b"ftyp", b"moov", b"mdat", b"styp", b"moof", b"sidx")),
    *((0, begin) for begin in (
        b"\x1a\x45\xdf\xa3", b"RIFF", b"RF64", b"FORM", b"OggS", b"FLV", b"ID3", b"fLaC", b"#!AMR",
        # sync words of MP3 (two) and ADTS AAC (two), pack header of an MPEG program stream
        b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"\x00\x00\x01\xba",
        # MPEG video, ASF, MXF
        b"\x00\x00\x01\xb3", b"\x30\x26\xb2\x75", b"\x06\x0e\x2b\x34",
    )),
)  # fmt: skip

RAW_FORMATS = frozenset({"mp3", "aac", "h264", "hevc", "ac3", "eac3", "mpegvideo", "m4v", "obu"})
"""Formats without a container; FFmpeg guesses them, so a file that does not decode is not media."""


def looks_like_media(head: bytes) -> bool:
    """Whether a file begins with the magic bytes of a known container or elementary stream."""
    # 0x47 alone is the letter G: the next packet must begin with it too
    transport_stream = head[:1] == b"\x47" and head[188:189] in (b"\x47", b"")
    return transport_stream or any(
        head[at : at + len(magic)] == magic for at, magic in _CONTAINER_MAGIC
    )


def is_indexed(head: bytes) -> bool:
    """Whether the file begins like MP4 or Matroska, whose headers fully describe the streams."""
    return head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"


def first_bytes(path: str) -> bytes:
    """The first 192 bytes. Raises MediaError if this is not a readable, non-empty regular file."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISREG(mode):
            with open_source(path) as file:
                head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        dangling = os.path.islink(path)  # noqa: PTH114 - never raises
        raise MissingFileError("a broken symbolic link" if dangling else "no such file") from None
    except ValueError:
        raise MissingFileError("the file name is invalid") from None  # such as a NUL in it
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MissingFileError("the file name is too long") from error
        if error.errno == errno.ELOOP:
            raise MissingFileError("a symbolic link that points to itself") from error
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise UnreadableError("a folder whose files cannot be listed")
    if not stat.S_ISREG(mode):
        raise NotMediaError("not a regular file (a pipe, socket or device)")
    if not head:
        raise NotMediaError("the file is empty")
    return head


def still_brand(head: bytes) -> str:
    """Major brand of a still image stored as ISO media (AVIF, HEIF), or ""."""
    return head[8:12].decode() if head[4:12] in _STILL_BRANDS else ""


def is_lone_segment(head: bytes) -> bool:
    """Whether the file is a DASH or CMAF media segment without its initialisation segment."""
    return head[4:8] in (b"styp", b"moof", b"sidx")
