"""Read animated WebP with Pillow, since FFmpeg does not decode it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from data_prep.clip import FloatArray, UInt8Array
from data_prep.decode_errors import DecodeErrors
from data_prep.heartbeat import beat
from data_prep.media.limits import refuse_amount, refuse_name, refuse_picture
from data_prep.media.packet_times import PacketTimes
from data_prep.media.probe import MediaInfo
from data_prep.media.source import open_source
from data_prep.media.track import Track
from data_prep.settings import LimitSettings
from data_prep.status import NotMediaError, RefusedError, UnreadableError
from data_prep.video.sampling import frame_shown_at

_DEFAULT_FRAME_S = 0.1  # what browsers use for a frame without a duration


def is_animated_webp(path: str) -> bool:
    """Whether the header is that of a WebP with the animation flag (VP8X, bit 1)."""
    try:
        if not Path(path).is_file():
            return False
        with open_source(path) as file:
            head = file.read(21)  # RIFF header, name and size of the VP8X chunk, its flags
    except OSError:
        return False  # the reason is reported when it is opened for decoding
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:] and head[20] & 2)


def examine_webp(path: str, limits: LimitSettings) -> tuple[MediaInfo, PacketTimes]:
    """Like `probe.examine`: streams and frame times. Raises MediaError."""
    refuse_name(path, limits)
    starts_s, end_s, problem = [], 0.0, ""
    try:
        with Image.open(path) as image:
            width_px, height_px = image.size
            refuse_picture(width_px, height_px, limits)
            for frame in ImageSequence.Iterator(image):
                beat()
                frame.load()  # Pillow reads the frame's data and duration only now
                starts_s.append(end_s)
                end_s += frame.info.get("duration", 0) / 1000 or _DEFAULT_FRAME_S
    except Image.DecompressionBombError as error:
        raise RefusedError(f"its pictures are too large for Pillow: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError) as error:
        problem = str(error) or type(error).__name__
    if not starts_s:
        raise UnreadableError(f"damaged or incomplete: {problem}")
    if len(starts_s) == 1 and not problem:
        raise NotMediaError("a still image (webp), not a video or sound")
    times_s = np.array(starts_s)
    picture = Track(0.0, end_s, n_packets=len(starts_s))
    if problem:  # Pillow does not say how much is lost: count one frame
        picture.broken, picture.lost_s = f"reading it stopped: {problem}", _DEFAULT_FRAME_S
    info = MediaInfo(
        container=WebpReader.container, has_video=True, has_audio=False, duration_s=end_s,
        zero_s=0.0, width_px=width_px, height_px=height_px, frame_rate_hz=len(starts_s) / end_s,
        video_codec="webp", n_video_tracks=1,
    )  # fmt: skip
    packet_times = PacketTimes(times_s, picture, None, has_hidden_frames=False, problem=problem)
    refuse_amount((info.width_px, info.height_px), packet_times, limits)
    return info, packet_times


@dataclass
class WebpReader:
    """Reads frames of an animated WebP by time, scaled to `size_px` (width, height)."""

    path: str
    size_px: tuple[int, int]
    times_s: FloatArray
    errors: DecodeErrors = field(default_factory=DecodeErrors)
    name: str = "pillow"

    container: ClassVar[str] = "webp"

    def drain(self, end_s: float) -> float | None:
        """None: every frame is checked as it is read, so nothing has to be drained."""
        return None

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For each non-NaN time in [T]: (position in T, frame time s, frame [H, W, C])."""
        positions = np.flatnonzero(~np.isnan(times_s))
        with Image.open(self.path) as image:
            for position in positions:
                index = int(frame_shown_at(self.times_s, times_s[position : position + 1])[0])
                image.seek(index)
                frame = image.convert("RGB").resize(self.size_px, Image.Resampling.BICUBIC)
                yield int(position), float(self.times_s[index]), np.asarray(frame, np.uint8)
