"""The only module that uses PyAV: opening files, choosing streams, decoding, scaling, writing.

Times are presentation timestamps in seconds on the file's own clock, before any alignment.
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
from data_prep.decode_errors import DecodeErrors, captured_stderr
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

TICKS_PER_S: int = av.time_base
"""Time base of a container's own duration."""

_HIGHEST_RATE_HZ = 300  # some encoders write nonsense (90000) for an unknown rate

_WITH_CHECKSUMS = frozenset({"flac", "ffv1"})  # FFmpeg verifies their checksums only on request

# Raised by demuxing and decoding of damaged data; ValueError: a layout that PyAV cannot map.
DECODE_ERRORS = (av.error.FFmpegError, ValueError)

# FFmpeg logs to stderr, for `captured_stderr`: routed through Python's logging it can deadlock.
av.logging.set_libav_level(av.logging.ERROR)
av.logging.restore_default_callback()


@contextmanager
def open_media(path: str, reordered: bool = False) -> Iterator[Any]:
    """An open PyAV container. Raises MediaError with the reason if a file is not usable.

    When opening MP4 and Matroska, FFmpeg decodes several frames to find the reorder depth. The
    headers hold everything else, so this is skipped (6 instead of 25 ms) unless `reordered`: the
    caller then decodes frames that are, or may be, reordered.
    """
    head = first_bytes(path)
    options = {"protocol_whitelist": "file"}  # a playlist must not make FFmpeg access the network
    if is_indexed(head) and not reordered:
        options["skip_frame"] = "nokey"
    view = pcm_view(path)
    source = str(Path(path).absolute()) if view is None else PcmFile(path, view)
    try:
        with captured_stderr() as lines:
            # old recorders write Latin-1 titles, which are not valid UTF-8
            container = av.open(source, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        # FFmpeg's log line ("moov atom not found") is more specific than its error code
        message = lines[-1] if lines else reason(error)
        if is_lone_segment(head):
            message = "a segment without the initialisation segment that it needs"
        if looks_like_media(head):
            raise UnreadableError(f"damaged or incomplete: {message}") from error
        raise NotMediaError(f"no media in it: {message}") from error
    with container:
        name = container.format.name
        # "png_pipe", "jpeg_pipe" …: FFmpeg's demuxers of single images
        if name in STILL_OR_TEXT or name.endswith("_pipe"):
            raise NotMediaError(f"a still image or text ({name}), not a video or sound")
        if still_brand(head):
            raise NotMediaError(f"a still image ({still_brand(head)}), not a video or sound")
        if name in POINTS_ELSEWHERE:
            raise NotMediaError(f"a list of other files ({name}), not a recording")
        yield container


def ffmpeg_versions() -> dict[str, str]:
    """Versions of the FFmpeg libraries bundled with PyAV: libavcodec 62.28.102 …"""
    return {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}


def reason(error: Exception) -> str:
    """The error's message in one line, never empty."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def frame_time_s(frame: Any) -> float | None:
    """Presentation time in s; None without a timestamp."""
    if frame.pts is None:
        return None
    base = frame.time_base
    return float(frame.pts * base.numerator / base.denominator)


def decode_time_s(frame: Any) -> float | None:
    """DTS in s of the packet that made the decoder return the frame; None for flushed frames."""
    if frame.dts is None:
        return None
    base = frame.time_base
    return float(frame.dts * base.numerator / base.denominator)


def orientation(frame: Any) -> tuple[int, bool]:
    """(counter-clockwise rotation in degrees, then flip left to right?) by the display matrix.

    The matrix (ISO 14496-12, tkhd; 16.16 fixed point) maps coded to displayed coordinates:
    x' = a·x + c·y, y' = b·x + d·y. PyAV's `rotation` ignores the flip of a mirrored frame.
    """
    try:
        matrices = [bytes(side) for side in frame.side_data if side.type.name == "DISPLAYMATRIX"]
    except ValueError:  # PyAV 18.1 does not know all side data types of FFmpeg 8
        return int(round(frame.rotation / 90) * 90) % 360, False
    if not matrices or len(matrices[-1]) < 36:
        return 0, False
    a, b, _, c, d = np.frombuffer(matrices[-1], np.int32)[:5].astype(np.int64).tolist()
    determinant = a * d - b * c
    if determinant == 0:  # some muxers write a matrix of zeros
        return 0, False
    mirrored = determinant < 0
    if abs(a) + abs(d) >= abs(b) + abs(c):  # not transposed
        return (180 if (d < 0 if mirrored else a < 0) else 0), mirrored
    return (270 if b > 0 else 90), mirrored


def stated_rate_hz(stream: Any) -> float | None:
    """Frame rate that the elementary stream itself states; None if it states none."""
    rate = stream.codec_context.framerate
    if rate and stream.codec_context.name not in ("h264", "hevc"):
        rate = stream.guessed_rate  # `framerate` of others, such as MPEG-4, may be a clock rate
    return float(rate) if rate and rate <= _HIGHEST_RATE_HZ else None


def resampled(resampler: Any, frame: Any) -> list[Samples]:
    """Blocks of float32 [S]; frame None flushes the resampler. Raises one of DECODE_ERRORS."""
    if resampler is None:
        return []
    return [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]


_MOST_RESAMPLED = 64  # channels; SWR_CH_MAX of libswresample


class ChannelReader:
    """Converts audio frames of one format to float32 [C, S], full scale ±1, in blocks of 0.25 s.

    C is the number of channels, S of samples.
    """

    def __init__(self, frame: Any) -> None:
        """frame: any of the frames to be converted, for their format, layout and rate."""
        self._n_channels = len(frame.layout.channels)
        self._resampler: Any = None
        if self._n_channels <= _MOST_RESAMPLED or not frame.format.is_packed:
            self._resampler = av.AudioResampler(
                # not planar "fltp": PyAV 18.1 reads past the end of more than eight planes
                format="flt", layout=frame.layout, rate=frame.sample_rate,
                frame_size=max(1, frame.sample_rate // 4),
            )  # fmt: skip

    def read(self, frame: Any) -> Samples:
        """Samples that are ready; frame None flushes the rest. Raises one of DECODE_ERRORS."""
        if self._resampler is None:
            return self._as_float(frame)
        if frame is not None:
            frame.pts = None  # the caller tracks positions; FFmpeg would pad for timestamp jitter
        out = [made.to_ndarray().reshape(-1, self._n_channels).T
               for made in self._resampler.resample(frame)]  # fmt: skip
        return np.concatenate(out, axis=1) if out else np.zeros((self._n_channels, 0), np.float32)

    def _as_float(self, frame: Any) -> Samples:
        """Convert packed samples of more channels than libswresample supports."""
        if frame is None:
            return np.zeros((self._n_channels, 0), np.float32)
        samples = frame.to_ndarray().reshape(-1, self._n_channels).T
        if np.issubdtype(samples.dtype, np.floating):
            return np.asarray(samples, np.float32)
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        middle = half if samples.dtype == np.uint8 else 0.0  # 8-bit PCM is unsigned
        return np.asarray((samples - middle) / half, np.float32)


def mono_frame(samples: Samples, rate_hz: int) -> Any:
    """Wrap float32 [S] as an audio frame for the resampler."""
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def speakers(frame: Any) -> tuple[str, ...] | None:
    """FFmpeg's channel names in layout order (FL, FR, …); None if the layout is unspecified."""
    names = tuple(channel.name for channel in frame.layout.channels)
    return None if "NONE" in names else names


def is_cover(stream: Any) -> bool:
    """Whether a video stream is only cover art or a preview thumbnail."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & still)


def video_stream(container: Any) -> Any:
    """The default video stream, else the first; None without one. Cover art does not count.

    Of several default streams, one with more than a single frame is preferred.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    # stable sort: an animated AVIF has its one-frame poster first
    return _default_or_first(sorted(streams, key=lambda stream: stream.frames == 1))


def audio_stream(container: Any) -> Any:
    """The default audio stream, else the first; None without one."""
    stream = _default_or_first(list(container.streams.audio))
    if stream is not None and stream.codec_context.name.startswith("pcm_"):
        _drop_custom_layout(stream.codec_context)
    return stream


def _drop_custom_layout(decoder: Any) -> None:
    """Replace a custom channel order (FC, FL, FR …) with unnamed channels, before decoding.

    PyAV 18.1 frees such a layout twice, which crashes the process.
    """
    layout = decoder.layout  # read once only: every further access frees it again
    if "(" in layout.name:
        decoder.layout = f"{len(layout.channels)}C"


def _default_or_first(streams: list[Any]) -> Any:
    # without a codec context there is no decoder for the stream
    streams = [stream for stream in streams if stream.codec_context is not None]
    default = [s for s in streams if s.disposition & av.stream.Disposition.default]
    return next(iter(default or streams), None)


def seek(container: Any, stream: Any, time_s: float) -> bool:
    """Seek to the last keyframe before a time on the stream's clock; False if that fails."""
    try:
        container.seek(int(time_s / stream.time_base), stream=stream)
    except (*DECODE_ERRORS, OverflowError):
        return False
    return True


def packets(container: Any, streams: list[Any], problems: list[str]) -> Iterator[Any]:
    """Packets of these streams; an error that ends demuxing is appended to `problems`."""
    source = container.demux(streams)
    while True:
        beat()
        try:
            packet = next(source, None)
        except MemoryError:  # FFmpeg's ENOMEM is one of DECODE_ERRORS too
            raise
        except IndexError:  # raised by PyAV for a stream that appears in the middle of the file
            source = container.demux(streams)
            continue
        except DECODE_ERRORS as error:
            problems.append(reason(error))
            return
        if packet is None:
            return
        yield packet


def decoded(container: Any, stream: Any, losses: DecodeErrors) -> Iterator[Any]:
    """Decoded frames of one stream, as `decode_packets` returns them."""
    problems: list[str] = []
    return decode_packets(packets(container, [stream], problems), problems, stream, losses)


def decode_packets(
    source: Iterator[Any], problems: list[str], stream: Any, losses: DecodeErrors
) -> Iterator[Any]:
    """Decoded frames of one stream; packets and frames that fail are counted in `losses`.

    source: the packets of the stream, also of another container of the same file. problems: errors
    that ended demuxing, by the time the source is exhausted.

    Video frames that the decoder flags as corrupt (concealed, or with missing references) are
    dropped, and so are all frames up to the next keyframe, which are predicted from them.
    """
    if stream.codec_context.name in _WITH_CHECKSUMS:
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    is_video = stream.type == "video"
    is_tainted = False
    for packet in source:
        if packet.size == 0 and packet.pts is not None:
            continue  # repeats the last frame; decoders would take it for the end
        if packet.has_sidedata("encryption_info"):
            losses.record_error("encrypted")
            continue
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:
            continue  # the decoder has been flushed already
        except MemoryError:
            raise
        except DECODE_ERRORS as error:
            losses.record_error(reason(error))
            is_tainted = is_video and not packet.is_disposable  # disposable: no frame refers to it
            continue
        for frame in frames:
            if frame.is_corrupt:
                losses.record_error("damaged picture data" if is_video else "damaged sound")
                is_tainted = is_video
                continue
            is_tainted = is_tainted and not frame.key_frame
            if is_tainted:
                losses.record_error("predicted from damaged picture data")
                continue
            losses.record_success()
            yield frame
    if problems:
        losses.record_error(problems[0])


class Scaler:
    """Scales decoded frames and converts them to RGB by the frame's own matrix and range."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, frame: Any, width_px: int, height_px: int) -> UInt8Array | None:
        """uint8 [H, W, C]; None if the frame is too damaged to be converted."""
        try:
            out = self._reformatter.reformat(
                frame, width_px, height_px, "rgb24", interpolation="BICUBIC"
            )
        except DECODE_ERRORS:  # libswscale refuses extreme factors: a frame of 5000×2
            return self._by_pillow(frame, width_px, height_px)
        return np.asarray(out.to_ndarray(), np.uint8)

    def grey(self, frame: Any, side_px: int) -> UInt8Array | None:
        """uint8 [side, side] luma, area-averaged; None if the frame cannot be converted."""
        with suppress(*DECODE_ERRORS):
            out = self._reformatter.reformat(frame, side_px, side_px, "gray", interpolation="AREA")
            return np.asarray(out.to_ndarray(), np.uint8)
        return None

    def _by_pillow(self, frame: Any, width_px: int, height_px: int) -> UInt8Array | None:
        try:
            full_size = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        except DECODE_ERRORS:
            return None
        scaled = Image.fromarray(full_size).resize((width_px, height_px), Image.Resampling.BICUBIC)
        return np.asarray(scaled, np.uint8)


def mono_resampler(rate_hz: int) -> Any:
    """A libswresample resampler to float32 mono, in blocks of 0.25 s."""
    return av.AudioResampler(format="flt", layout="mono", rate=rate_hz, frame_size=rate_hz // 4)


class ClipWriter:
    """Writes H.264 and optionally AAC; closes the file on leaving the context."""

    def __init__(
        self,
        path: Path,
        size_px: tuple[int, int],
        frame_rate_hz: Fraction | int,
        audio_rate_hz: int | None,
        options: dict[str, str] | None = None,
    ) -> None:
        """size_px: even (width, height). options: for x264, on top of fast defaults."""
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
        """Write uint8 [H, W, C] RGB, shown from pts · time_base (default: 1 / frame rate)."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if key_frame:
            frame.pict_type = PictureType.I
        frame.pts = pts
        if time_base is not None:
            frame.time_base = time_base
        self._container.mux(self.video.encode(frame))

    def add_audio(self, sound: npt.NDArray[np.float32], start: int = 0) -> None:
        """Write float32 [S] in −1..1, the first sample at time start / audio_rate_hz."""
        if self._audio_rate_hz is None:
            raise ValueError("this file was opened without a sound track")
        for offset in range(0, sound.size, 1024):  # AAC takes frames of 1024 samples
            block = np.zeros((1, 1024), np.float32)
            part = sound[offset : offset + 1024]
            block[0, : part.size] = part
            samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = self._audio_rate_hz, start + offset
            samples.time_base = Fraction(1, self._audio_rate_hz)
            self._container.mux(self._audio.encode(samples))
