"""The only module that touches PyAV: opening files, choosing streams, decoding, scaling, writing.

Times are seconds on the file's own clock (presentation timestamps), before any alignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from PIL import Image

from data_prep.clip import Samples, UInt8Array
from data_prep.decode_errors import DecodeErrors
from data_prep.heartbeat import beat
from data_prep.media.file_type import (
    POINTS_ELSEWHERE,
    STILL_OR_TEXT,
    first_bytes,
    is_indexed,
    is_lone_segment,
    looks_like_media,
    still_brand,
)
from data_prep.media.pcm_data import PcmFile, pcm_view
from data_prep.status import NotMediaError, UnreadableError
from data_prep.stderr_capture import captured_stderr

TICKS_PER_S: int = av.time_base
"""Unit of a container's own duration."""

_HIGHEST_RATE_HZ = 300  # some encoders write nonsense (90000) where they know nothing

_WITH_CHECKSUMS = frozenset({"flac", "ffv1"})  # which FFmpeg looks at only when told to

# What demuxing and decoding raise on broken data; PyAV adds ValueError for layouts it cannot map.
DECODE_ERRORS = (av.error.FFmpegError, ValueError)

# FFmpeg's own lines go to standard error, for `overheard`; Python's logging can deadlock with it.
av.logging.set_libav_level(av.logging.ERROR)
av.logging.restore_default_callback()


@contextmanager
def open_media(path: str, reordered: bool = False) -> Iterator[Any]:
    """An open PyAV container. Raises MediaError of the fitting status.

    FFmpeg decodes several pictures of MP4 and Matroska files at opening, to learn by how many they
    are reordered, though their headers hold all that is asked here: that is left out (25 against
    6 ms) unless the caller decodes pictures that are, or may be, reordered.
    """
    head = first_bytes(path)
    options = {"protocol_whitelist": "file"}
    if is_indexed(head) and not reordered:
        options["skip_frame"] = "nokey"
    view = pcm_view(path)
    source = str(Path(path).absolute()) if view is None else PcmFile(path, view)
    try:
        with captured_stderr() as lines:
            # a tag that is no UTF-8 (Latin-1 titles of old recorders) does not decide
            container = av.open(source, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        words = lines[-1] if lines else reason(error)
        if is_lone_segment(head):
            words = "a segment without the initialisation segment that it needs"
        if looks_like_media(head):
            raise UnreadableError(f"damaged or incomplete: {words}") from error
        raise NotMediaError(f"no media in it: {words}") from error
    with container:
        name = container.format.name
        if name in STILL_OR_TEXT or name.endswith("_pipe"):
            raise NotMediaError(f"a still image or text ({name}), not a video or sound")
        if still_brand(head):
            raise NotMediaError(f"a still image ({still_brand(head)}), not a video or sound")
        if name in POINTS_ELSEWHERE:
            raise NotMediaError(f"a list of other files ({name}), not a recording")
        yield container


def ffmpeg_versions() -> dict[str, str]:
    """Versions of the FFmpeg libraries that PyAV brings: libavcodec 62.28.102 …"""
    return {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}


def reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def frame_time_s(frame: Any) -> float | None:
    if frame.pts is None:
        return None
    base = frame.time_base
    return float(frame.pts * base.numerator / base.denominator)


def decode_time_s(frame: Any) -> float | None:
    """When the packet is decoded that brought the frame out; None for the last ones."""
    if frame.dts is None:
        return None
    base = frame.time_base
    return float(frame.dts * base.numerator / base.denominator)


def orientation(frame: Any) -> tuple[int, bool]:
    """(counter-clockwise turn in degrees, whether then to flip left to right) by display matrix.

    The matrix (ISO 14496-12, tkhd; numbers of 16.16 bits) takes a coded place to where it is shown:
    x' = a·x + c·y, y' = b·x + d·y. PyAV's `rotation` leaves out a mirror image's flip.
    """
    try:
        found = [bytes(side) for side in frame.side_data if side.type.name == "DISPLAYMATRIX"]
    except ValueError:  # PyAV 18.1 does not know all kinds of side data that FFmpeg 8 gives
        return int(round(frame.rotation / 90) * 90) % 360, False
    if not found or len(found[-1]) < 36:
        return 0, False
    a, b, _, c, d = np.frombuffer(found[-1], np.int32)[:5].astype(np.int64).tolist()
    determinant = a * d - b * c
    if determinant == 0:  # some writers leave it empty
        return 0, False
    mirrored = determinant < 0
    if abs(a) + abs(d) >= abs(b) + abs(c):  # not transposed
        return (180 if (d < 0 if mirrored else a < 0) else 0), mirrored
    return (270 if b > 0 else 90), mirrored


def stated_rate_hz(stream: Any) -> float | None:
    """Pictures per second as the coded stream itself states them; None where it does not."""
    rate = stream.codec_context.framerate
    if rate and stream.codec_context.name not in ("h264", "hevc"):
        rate = stream.guessed_rate  # of MPEG-4 the other is the unit of its clock
    return float(rate) if rate and rate <= _HIGHEST_RATE_HZ else None


def resampled(resampler: Any, frame: Any) -> list[Samples]:
    """float32 [S], or the resampler's rest for None. Raises one of DECODE_ERRORS."""
    if resampler is None:
        return []
    return [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]


_MOST_RESAMPLED = 64  # SWR_CH_MAX of libswresample


class ChannelReader:
    """Sound frames of one kind as float32 [C, S], full scale being ±1, a quarter second at once.

    FFmpeg makes them packed: PyAV 18.1 loses count of the planes of more than eight channels, and
    reads past their end.
    """

    def __init__(self, frame: Any) -> None:
        """frame: one of those that will come."""
        self._n_channels = len(frame.layout.channels)
        self._resampler: Any = None
        if self._n_channels <= _MOST_RESAMPLED or not frame.format.is_packed:
            self._resampler = av.AudioResampler(
                format="flt", layout=frame.layout, rate=frame.sample_rate,
                frame_size=max(1, frame.sample_rate // 4),
            )  # fmt: skip

    def read(self, frame: Any) -> Samples:
        """What is whole by now, and the rest for None. Raises one of DECODE_ERRORS."""
        if self._resampler is None:
            return self._as_float(frame)
        if frame is not None:
            frame.pts = None  # the caller keeps the place; jitter must not make FFmpeg pad
        out = [made.to_ndarray().reshape(-1, self._n_channels).T
               for made in self._resampler.resample(frame)]  # fmt: skip
        return np.concatenate(out, axis=1) if out else np.zeros((self._n_channels, 0), np.float32)

    def _as_float(self, frame: Any) -> Samples:
        """Of packed samples, those of more channels than libswresample takes."""
        if frame is None:
            return np.zeros((self._n_channels, 0), np.float32)
        samples = frame.to_ndarray().reshape(-1, self._n_channels).T
        if np.issubdtype(samples.dtype, np.floating):
            return np.asarray(samples, np.float32)
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        middle = half if samples.dtype == np.uint8 else 0.0
        return np.asarray((samples - middle) / half, np.float32)


def mono_frame(samples: Samples, rate_hz: int) -> Any:
    """float32 [S] as a frame for the resampler."""
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def speakers(frame: Any) -> tuple[str, ...] | None:
    """FFmpeg's names of the loudspeakers that the channels are for; None where none are stated."""
    names = tuple(channel.name for channel in frame.layout.channels)
    return None if "NONE" in names else names


def is_cover(stream: Any) -> bool:
    """Whether a video stream is a picture attached to sound, or a preview, not a recording."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & still)


def video_stream(container: Any) -> Any:
    """The default video stream, else the first; a cover picture attached to sound is none.

    Of several default ones, one with more than a single frame: AVIF has its poster first.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    return _chosen(sorted(streams, key=lambda stream: stream.frames == 1))


def audio_stream(container: Any) -> Any:
    """The default audio stream, else the first."""
    stream = _chosen(list(container.streams.audio))
    if stream is not None and stream.codec_context.name.startswith("pcm_"):
        _forget_custom_layout(stream.codec_context)
    return stream


def _forget_custom_layout(decoder: Any) -> None:
    """Number the channels where they stand in an order of the file's own (FC, FL, FR …).

    PyAV 18.1 frees such a layout twice, which ends the process: it is looked at once, and replaced
    before anything is decoded.
    """
    layout = decoder.layout
    if "(" in layout.name:
        decoder.layout = f"{len(layout.channels)}C"


def _chosen(streams: list[Any]) -> Any:
    streams = [stream for stream in streams if stream.codec_context is not None]
    default = [s for s in streams if s.disposition & av.stream.Disposition.default]
    return next(iter(default or streams), None)


def seek(container: Any, stream: Any, time_s: float) -> bool:
    """Go to the last key frame before a time on the stream's clock; False where that fails."""
    try:
        container.seek(int(time_s / stream.time_base), stream=stream)
    except (*DECODE_ERRORS, OverflowError):
        return False
    return True


def packets(container: Any, streams: list[Any], problems: list[str]) -> Iterator[Any]:
    """Packets of these streams; an error that ends reading is named in `problems`."""
    source = container.demux(streams)
    while True:
        beat()
        try:
            packet = next(source, None)
        except MemoryError:
            raise
        except IndexError:  # PyAV's, at a packet of a stream that appears in the middle
            source = container.demux(streams)
            continue
        except DECODE_ERRORS as error:
            problems.append(reason(error))
            return
        if packet is None:
            return
        yield packet


def decoded(
    container: Any, stream: Any, losses: DecodeErrors, source: Iterator[Any] | None = None
) -> Iterator[Any]:
    """Decoded frames of one stream; what gives nothing true is counted in `losses`.

    source: its packets, where they do not come from the container directly.

    Pictures that the decoder marks as damaged (concealed, or built on what is missing) are no data,
    nor are those that follow up to the next key frame: they are built on the damaged one.
    """
    if stream.codec_context.name in _WITH_CHECKSUMS:
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    is_video = stream.type == "video"
    problems: list[str] = []
    tainted = False
    for packet in source or packets(container, [stream], problems):
        if packet.size == 0 and packet.pts is not None:
            continue  # "the same picture again", which decoders take for the end
        if packet.has_sidedata("encryption_info"):
            losses.record_error("encrypted")
            continue
        try:
            frames = packet.decode()
        except av.error.EOFError:
            continue  # the decoder was flushed already
        except MemoryError:
            raise
        except DECODE_ERRORS as error:
            losses.record_error(reason(error))
            tainted = is_video and not packet.is_disposable
            continue
        for frame in frames:
            if frame.is_corrupt:
                losses.record_error("damaged picture data" if is_video else "damaged sound")
                tainted = is_video
                continue
            tainted = tainted and not frame.key_frame
            if tainted:
                losses.record_error("built on damaged picture data")
                continue
            losses.record_success()
            yield frame
    if problems:
        losses.record_error(problems[0])


class Scaler:
    """Converts decoded frames to RGB of another size; matrix and range follow the frame's own."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, frame: Any, width_px: int, height_px: int) -> UInt8Array | None:
        """uint8 [H, W, C]; None where damage left a frame that is none."""
        try:
            out = self._reformatter.reformat(
                frame, width_px, height_px, "rgb24", interpolation="BICUBIC"
            )
        except DECODE_ERRORS:  # FFmpeg cannot scale by such a factor: a picture of 5000×2
            return self._by_pillow(frame, width_px, height_px)
        return np.asarray(out.to_ndarray(), np.uint8)

    def grey(self, frame: Any, side_px: int) -> UInt8Array | None:
        """uint8 [side, side]: brightness alone, averaged; None where that is not possible."""
        with suppress(*DECODE_ERRORS):
            out = self._reformatter.reformat(frame, side_px, side_px, "gray", interpolation="AREA")
            return np.asarray(out.to_ndarray(), np.uint8)
        return None

    def _by_pillow(self, frame: Any, width_px: int, height_px: int) -> UInt8Array | None:
        try:
            whole = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        except DECODE_ERRORS:
            return None
        scaled = Image.fromarray(whole).resize((width_px, height_px), Image.Resampling.BICUBIC)
        return np.asarray(scaled, np.uint8)


def mono_resampler(rate_hz: int) -> Any:
    """FFmpeg's resampler of floating-point mono."""
    return av.AudioResampler(format="flt", layout="mono", rate=rate_hz, frame_size=rate_hz // 4)


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

    def add_frame(
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

    def add_audio(self, sound: npt.NDArray[np.float32], start: int = 0) -> None:
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
