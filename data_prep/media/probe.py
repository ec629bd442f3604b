"""Probe a file: its streams, verified by decoding one frame, and the time they cover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from data_prep.decode_errors import DecodeErrors, captured_stderr
from data_prep.media.file_type import RAW_FORMATS
from data_prep.media.limits import refuse_amount, refuse_name, refuse_streams
from data_prep.media.packet_times import PacketTimes, read_packet_times
from data_prep.media.pyav_media import (
    TICKS_PER_S,
    audio_stream,
    decode_packets,
    decoded,
    frame_time_s,
    is_cover,
    open_media,
    orientation,
    packets,
    video_stream,
)
from data_prep.settings import RAW_FRAME_RATE_HZ, LimitSettings
from data_prep.status import MediaError, NotMediaError, NoUsableStreamError

_MOST_HEAD_PACKETS = 64  # packets to read until the decoder returns its first frame
_PICTURES = frozenset({"gif", "apng"})  # image formats that may also be animated


@dataclass(frozen=True)
class MediaInfo:
    """Streams and properties of a file. Width and height are as coded, before rotation and SAR."""

    container: str
    has_video: bool
    has_audio: bool
    duration_s: float | None
    zero_s: float
    """Presentation time of the first decoded video frame, or audio frame if there is no video."""
    width_px: int | None = None
    height_px: int | None = None
    frame_rate_hz: float | None = None
    rotation_deg: int = 0
    """Counter-clockwise rotation that makes the frame upright: 0, 90, 180 or 270."""
    mirrored: bool = False
    """The frame must also be flipped left to right, after the rotation."""
    pixel_aspect: Fraction = Fraction(1)
    video_codec: str = ""
    audio_codec: str = ""
    audio_rate_hz: int | None = None
    audio_channels: int | None = None
    n_video_tracks: int = 0
    n_audio_tracks: int = 0
    video_error: str = ""
    """Why the video track cannot be decoded at all, or ""."""
    audio_error: str = ""
    """Why the audio track cannot be decoded at all, or ""."""
    problem: str = ""
    """What is known to be missing before decoding, or ""."""
    energy_above: float | None = None
    """Share of the audio energy above the frequencies that clips keep, where that is most of it."""
    remarks: tuple[str, ...] = ()
    """Notes on an unusual file that is nevertheless read completely."""

    @property
    def display_size_px(self) -> tuple[int, int]:
        """(width, height) as displayed: square pixels, upright. Raises ValueError without video."""
        if self.width_px is None or self.height_px is None:
            raise ValueError("no picture, so no display size")
        width, height = round(self.width_px * self.pixel_aspect), self.height_px
        return (height, width) if self.rotation_deg % 180 else (max(1, width), height)


def examine(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ
) -> tuple[MediaInfo, PacketTimes]:
    """Streams of a file and their packet times.

    raw_frame_rate_hz: assumed for raw video streams that state no frame rate.

    Raises MediaError if no stream can be used; RefusedError if the file exceeds a limit.
    """
    refuse_name(path, limits)
    info, packet_times = _examine_single_pass(path, limits, raw_frame_rate_hz) or (None, None)
    if info is None or packet_times is None:  # the slow way reopens the file for each step
        info = probe(path, limits)
        with open_media(path) as container:
            packet_times = read_packet_times(
                path, container, info.has_video, info.has_audio, raw_frame_rate_hz
            )
    if info.container in _PICTURES and packet_times.frame_times_s.size == 1:
        raise NotMediaError(f"a still image ({info.container}), not a video or sound")
    if not packet_times.has_video and not packet_times.has_audio:
        raise NoUsableStreamError("its tracks have no duration")
    refuse_amount((info.width_px, info.height_px), packet_times, limits)
    # such packet times disagree with the decoder's, so time zero is taken from them too
    if packet_times.times_in_order and packet_times.has_video:
        info = replace(info, zero_s=float(packet_times.frame_times_s[0]))
    return _with_measured_rate(info, packet_times), packet_times


def _with_measured_rate(info: MediaInfo, packet_times: PacketTimes) -> MediaInfo:
    """`info` with the mean measured frame rate where the header's is off by 2 % or more."""
    times_s = packet_times.frame_times_s
    if times_s.size < 3 or times_s[-1] <= times_s[0]:
        return info
    measured_hz = float((times_s.size - 1) / (times_s[-1] - times_s[0]))
    stated = info.frame_rate_hz  # raw DV states 60000
    if stated is not None and abs(stated - measured_hz) < 0.02 * measured_hz:
        return info
    return replace(info, frame_rate_hz=round(measured_hz, 3))


def _examine_single_pass(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float
) -> tuple[MediaInfo, PacketTimes] | None:
    """`probe` and `read_packet_times` with the file opened once; None where that is not enough.

    The packets read to decode the first frame are handed on to the packet times.
    """
    with open_media(path) as container:
        refuse_streams(container, limits)
        video, audio = video_stream(container), audio_stream(container)
        if video is None:
            return None
        head: list[Any] = []
        streams = [stream for stream in (video, audio) if stream is not None]
        with captured_stderr() as lines:
            frame = next(
                decode_packets(_tee(container, streams, head), [], video, DecodeErrors()), None
            )
        if frame is None or lines or len(head) > _MOST_HEAD_PACKETS:
            return None  # FFmpeg complained or returned no frame: `probe` finds out why
        info = _media_info(container, video, audio, frame, frame_time_s(frame) or 0.0)
        return info, read_packet_times(
            path, container, True, audio is not None, raw_frame_rate_hz, head
        )


def _tee(container: Any, streams: list[Any], head: list[Any]) -> Iterator[Any]:
    """Store packets of all streams in `head`; yield those of the first stream."""
    for packet in packets(container, streams, []):
        head.append(packet)
        if len(head) > _MOST_HEAD_PACKETS:
            return
        if packet.stream_index == streams[0].index and packet.size:
            yield packet


def probe(path: str, limits: LimitSettings) -> MediaInfo:
    """Streams of a file, verified by decoding the first video (or else audio) frame.

    Raises MediaError if no stream can be used.
    """
    with open_media(path) as container:
        refuse_streams(container, limits)
        video, audio = video_stream(container), audio_stream(container)
        frame, why_no_picture = _first_frame(container, video) if video else (None, "")
        if video is None and any(not is_cover(stream) for stream in container.streams.video):
            why_no_picture = "no decoder for it"
        if frame is not None:
            return _media_info(container, video, audio, frame, frame_time_s(frame) or 0.0)
        if audio is None:
            raise _no_media_error(container, _why_unusable(container, why_no_picture))
    with open_media(path) as container:  # reopened: not every file is seekable
        audio = audio_stream(container)
        first, why_no_sound = _first_frame(container, audio)
        if first is None:
            raise _no_media_error(container, f"its sound cannot be decoded: {why_no_sound}")
        return _media_info(container, None, audio, None, frame_time_s(first) or 0.0, why_no_picture)


def _no_media_error(container: Any, why: str) -> MediaError:
    name = container.format.name
    if name in RAW_FORMATS:  # FFmpeg takes arbitrary bytes for these formats
        return NotMediaError(f"no media in it: read as {name}, {why}")
    return NoUsableStreamError(why)


def _why_unusable(container: Any, why_no_picture: str) -> str:
    if why_no_picture and not container.streams.audio:
        return f"its picture cannot be decoded: {why_no_picture}"
    kinds = sorted({stream.type for stream in container.streams}) or ["none"]
    if {"video", "audio"} & set(kinds):  # `video_stream` and `audio_stream` rejected them all
        return "no decoder for its tracks, or only a cover picture"
    return f"no video or sound track (streams: {', '.join(kinds)})"


def _first_frame(container: Any, stream: Any) -> tuple[Any, str]:
    """The first frame that can be decoded and "", or None and the reason."""
    losses = DecodeErrors()
    frame = next(decoded(container, stream, losses), None)
    return frame, losses.reason or f"no data in its {stream.type} track"


def _media_info(
    container: Any, video: Any, audio: Any, frame: Any, zero_s: float, no_picture: str = ""
) -> MediaInfo:
    durations = [
        float(stream.duration * stream.time_base)
        for stream in (video, audio)
        if stream is not None and stream.duration
    ]
    if container.duration:
        durations.append(container.duration / TICKS_PER_S)
    details: dict[str, Any] = {}
    if video is not None:
        rate = video.guessed_rate or video.average_rate
        rotation_deg, mirrored = orientation(frame)
        details |= {
            "width_px": frame.width,
            "height_px": frame.height,
            "frame_rate_hz": float(rate) if rate else None,
            "rotation_deg": rotation_deg,
            "mirrored": mirrored,
            "pixel_aspect": Fraction(video.sample_aspect_ratio or 1),
            "video_codec": video.codec_context.name,
        }
    if audio is not None:
        details |= {
            "audio_codec": audio.codec_context.name,
            "audio_rate_hz": audio.codec_context.sample_rate or None,
            "audio_channels": audio.codec_context.channels or None,
        }
    return MediaInfo(
        container=container.format.name,
        has_video=video is not None,
        has_audio=audio is not None,
        duration_s=max(durations) if durations else None,
        zero_s=zero_s,
        n_video_tracks=sum(not is_cover(stream) for stream in container.streams.video),
        n_audio_tracks=len(container.streams.audio),
        # a stream without a decoder is not chosen by `audio_stream`
        audio_error="" if audio is not None or not container.streams.audio else "no decoder for it",
        video_error=no_picture,
        **details,
    )
