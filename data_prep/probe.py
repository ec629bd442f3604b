"""What a file holds, and when: streams proved by decoding one frame, packet times read from all."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from data_prep.clip import FloatArray
from data_prep.pyav_media import (
    DECODE_ERRORS,
    TICKS_PER_S,
    audio_stream,
    decoded,
    frame_time_s,
    open_media,
    reason,
    video_stream,
)
from data_prep.status import NoUsableStreamError


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Width and height are as coded, before rotation and pixel shape."""

    container: str
    has_video: bool
    has_audio: bool
    duration_s: float | None
    zero_s: float
    """Time of the first decoded frame, or of the first sound where there is no picture."""
    width_px: int | None = None
    height_px: int | None = None
    frame_rate_hz: float | None = None
    rotation_deg: int = 0
    """Counter-clockwise turn that makes the picture upright: 0, 90, 180 or 270."""
    pixel_aspect: Fraction = Fraction(1)
    video_codec: str = ""
    audio_codec: str = ""
    audio_rate_hz: int | None = None
    audio_channels: int | None = None

    @property
    def display_size_px(self) -> tuple[int, int]:
        """(width, height) as a player shows it: square pixels, upright. Raises if no picture."""
        if self.width_px is None or self.height_px is None:
            raise ValueError("no picture, so no display size")
        width, height = round(self.width_px * self.pixel_aspect), self.height_px
        return (height, width) if self.rotation_deg % 180 else (max(1, width), height)


@dataclass(frozen=True)
class Timeline:
    """Packet times of the chosen streams, read without decoding."""

    frame_times_s: FloatArray
    """[N] sorted presentation times of the frames that are shown."""
    picture_end_s: float
    sound_end_s: float | None
    has_hidden_frames: bool
    """An edit list hides some coded frames; not every decoder honours that."""
    damage: str = ""


def probe(path: str) -> MediaInfo:
    """What is in the file, proved by decoding its first frame (or first sound).

    Raises MediaError if nothing in it can be used.
    """
    with open_media(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        frame = _first_frame(container, video) if video else None
        if frame is not None:
            zero_s = frame_time_s(frame) or 0.0
        elif audio:
            if video:
                container.seek(0)
            first = _first_frame(container, audio)
            if first is None:
                raise NoUsableStreamError("its sound track cannot be decoded")
            zero_s = frame_time_s(first) or 0.0
        elif video:
            raise NoUsableStreamError("its video track cannot be decoded")
        else:
            kinds = sorted({stream.type for stream in container.streams}) or ["none"]
            if {"video", "audio"} & set(kinds):
                raise NoUsableStreamError("no decoder for its tracks, or only a cover picture")
            raise NoUsableStreamError(f"no video or sound track (streams: {', '.join(kinds)})")
        return _media_info(container, video if frame is not None else None, audio, frame, zero_s)


def read_timeline(path: str, has_video: bool, has_audio: bool) -> Timeline:
    """Times of all frames and the end of the sound, from packets alone. Raises MediaError."""
    frame_times: list[float] = []
    picture_end = sound_end = float("-inf")
    hidden, damage, corrupt = False, "", 0
    with open_media(path) as container:
        video = video_stream(container) if has_video else None
        audio = audio_stream(container) if has_audio else None
        packets = container.demux([stream for stream in (video, audio) if stream])
        while True:
            try:
                packet = next(packets, None)
            except DECODE_ERRORS as error:
                damage = reason(error)
                break
            if packet is None:
                break
            corrupt += packet.is_corrupt
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.size == 0:
                continue
            start = float(time * packet.time_base)
            end = start + float((packet.duration or 0) * packet.time_base)
            if video is not None and packet.stream_index == video.index:
                if packet.is_discard:
                    hidden = True
                    continue
                frame_times.append(start)
                picture_end = max(picture_end, end)
            else:
                sound_end = max(sound_end, end)
    if corrupt and not damage:
        damage = f"{corrupt} packets are damaged"
    times = np.sort(np.array(frame_times, dtype=np.float64))
    if times.size > 1 and picture_end <= times[-1]:  # no durations stored
        picture_end = float(times[-1] + np.median(np.diff(times)))
    elif times.size == 1 and picture_end <= times[0]:
        picture_end = float(times[0]) + 0.04
    return Timeline(
        times, picture_end, sound_end if np.isfinite(sound_end) else None, hidden, damage
    )


def _first_frame(container: Any, stream: Any) -> Any:
    damage: list[str] = []
    for frame in decoded(container, stream, damage):
        return frame
    return None


def _media_info(container: Any, video: Any, audio: Any, frame: Any, zero_s: float) -> MediaInfo:
    durations = [
        float(stream.duration * stream.time_base)
        for stream in (video, audio)
        if stream is not None and stream.duration
    ]
    if container.duration:
        durations.append(container.duration / TICKS_PER_S)
    details: dict[str, Any] = {}
    if video is not None:
        rate = video.average_rate or video.guessed_rate
        details |= {
            "width_px": frame.width,
            "height_px": frame.height,
            "frame_rate_hz": float(rate) if rate else None,
            "rotation_deg": int(round(frame.rotation / 90) * 90) % 360,
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
        **details,
    )
