"""The only module that touches PyAV: opening files, choosing streams, decoding, scaling, writing.

Times are seconds on the file's own clock (presentation timestamps), before any alignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from data_prep.clip import Int16Array, UInt8Array
from data_prep.status import MissingFileError, NotMediaError, UnreadableError

TICKS_PER_S: int = av.time_base
"""Unit of a container's own duration."""

_STILL_OR_TEXT = frozenset({"image2", "tty", "bin", "xbin", "idf", "adf", "txd", "ico"})
_POINTS_ELSEWHERE = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})
_CONTAINER_MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1a\x45\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"),
    (0, b"FLV"), (0, b"ID3"), (0, b"fLaC"), (0, b"\x00\x00\x01\xba"), (0, b"\x30\x26\xb2\x75"),
)  # fmt: skip

# What demuxing and decoding raise on broken data; PyAV adds ValueError for layouts it cannot map.
DECODE_ERRORS = (av.error.FFmpegError, ValueError)


@contextmanager
def open_media(path: str) -> Iterator[Any]:
    """An open PyAV container. Raises MediaError of the fitting status."""
    if not Path(path).exists():
        raise MissingFileError("no such file")
    if not Path(path).is_file():
        raise NotMediaError("not a regular file (a folder, pipe or device)")
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error
    if size == 0:
        raise NotMediaError("the file is empty")
    try:
        container = av.open(str(Path(path).absolute()), options={"protocol_whitelist": "file"})
    except DECODE_ERRORS as error:
        known = any(head[at : at + len(magic)] == magic for at, magic in _CONTAINER_MAGIC)
        if known:
            raise UnreadableError(f"damaged or incomplete: {reason(error)}") from error
        raise NotMediaError(f"no media in it: {reason(error)}") from error
    with container:
        name = container.format.name
        if name in _STILL_OR_TEXT or name.endswith("_pipe"):
            raise NotMediaError(f"a still image or text ({name}), not a video or sound")
        if name in _POINTS_ELSEWHERE:
            raise NotMediaError(f"a list of other files ({name}), not a recording")
        yield container


def reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).strip().splitlines()[0] if str(text).strip() else type(error).__name__


def frame_time_s(frame: Any) -> float | None:
    return None if frame.pts is None else float(frame.pts * frame.time_base)


def resampled(resampler: Any, frame: Any) -> Iterator[Int16Array]:
    if resampler is None:
        return
    for out in resampler.resample(frame):
        yield out.to_ndarray().reshape(-1)


def video_stream(container: Any) -> Any:
    """The default video stream; a cover picture attached to sound is none."""
    attached = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & attached]
    streams = [s for s in streams if s.codec_context is not None]
    default = [s for s in streams if s.disposition & av.stream.Disposition.default]
    return next(iter(default or streams), None)


def audio_stream(container: Any) -> Any:
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    default = [s for s in streams if s.disposition & av.stream.Disposition.default]
    return next(iter(default or streams), None)


def decoded(container: Any, stream: Any, damage: list[str]) -> Iterator[Any]:
    """Decoded frames of one stream; what cannot be decoded is named in `damage` and passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except DECODE_ERRORS as error:
            damage.append(reason(error))
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.EOFError:
            continue  # the decoder was flushed already
        except DECODE_ERRORS as error:
            damage.append(reason(error))
            continue
        yield from frames


class Scaler:
    """Converts decoded frames to RGB of another size; matrix and range follow the frame's own."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, frame: Any, width_px: int, height_px: int) -> UInt8Array:
        """uint8 [H, W, C]."""
        out = self._reformatter.reformat(
            frame, width_px, height_px, "rgb24", interpolation="BICUBIC"
        )
        return out.to_ndarray().astype(np.uint8, copy=False)


def mono_resampler(rate_hz: int) -> Any:
    """FFmpeg's resampler to 16-bit mono, which scales a mix down so that it cannot clip."""
    return av.AudioResampler(format="s16", layout="mono", rate=rate_hz)


class ClipWriter:
    """Writes H.264 and, where asked, AAC; closes the file on leaving the context."""

    def __init__(
        self,
        path: Path,
        size_px: tuple[int, int],
        frame_rate_hz: Fraction | int,
        audio_rate_hz: int | None,
        options: dict[str, str] | None = None,
    ) -> None:
        """size_px: (width, height), even numbers. options: x264's, over fast defaults."""
        self._container = av.open(str(path), "w")
        x264 = {"preset": "veryfast", "threads": "1"} | (options or {})
        video: Any = self._container.add_stream("libx264", rate=frame_rate_hz, options=x264)
        video.width, video.height = size_px
        video.pix_fmt = "yuv420p"
        self.video = video
        self._audio: Any = None
        if audio_rate_hz is not None:
            self._audio = self._container.add_stream("aac", rate=audio_rate_hz, layout="mono")
        self._audio_rate_hz = audio_rate_hz

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in (self.video, self._audio):
            if stream is not None:
                self._container.mux(stream.encode(None))
        self._container.close()

    def picture(
        self,
        picture: UInt8Array,
        pts: int,
        time_base: Fraction | None = None,
        key_frame: bool = False,
    ) -> None:
        """uint8 [H, W, C] RGB, shown from pts · time_base (default: frame number)."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if key_frame:
            frame.pict_type = PictureType.I
        frame.pts = pts
        if time_base is not None:
            frame.time_base = time_base
        self._container.mux(self.video.encode(frame))

    def sound(self, sound: npt.NDArray[np.float32], start: int = 0) -> None:
        """float32 [S] in −1..1, its first sample at time start / audio_rate_hz."""
        if self._audio_rate_hz is None:
            raise ValueError("this file was opened without a sound track")
        for offset in range(0, sound.size, 1024):
            block = np.zeros((1, 1024), np.float32)
            part = sound[offset : offset + 1024]
            block[0, : part.size] = part
            samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = self._audio_rate_hz, start + offset
            samples.time_base = Fraction(1, self._audio_rate_hz)
            self._container.mux(self._audio.encode(samples))
