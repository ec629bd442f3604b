"""Limits on the resources one file may take; RefusedError names the limit it exceeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data_prep.settings import LimitSettings
from data_prep.status import RefusedError

if TYPE_CHECKING:
    from data_prep.media.packet_times import PacketTimes


_BYTES_PER_PX = 1.5  # 8-bit 4:2:0, which most recordings decode to


def refuse_name(path: str, limits: LimitSettings) -> None:
    """Raise RefusedError for a path too long for tables and other operating systems."""
    if len(path) > limits.max_path_chars:
        raise RefusedError(
            f"its path has {len(path)} characters, over "
            f"limits.max_path_chars={limits.max_path_chars}",
            ("max_path_chars", limits.max_path_chars),
        )


def refuse_streams(container: Any, limits: LimitSettings) -> None:
    """Raise RefusedError for too many streams, or a video stream whose frames are too large."""
    count = len(container.streams)
    if count > limits.max_streams:
        raise RefusedError(
            f"{count} streams, over limits.max_streams={limits.max_streams}",
            ("max_streams", limits.max_streams),
        )
    for stream in container.streams.video:
        context = stream.codec_context
        if context is not None:  # FFmpeg has no decoder for some streams
            refuse_picture(context.width, context.height, limits)


def refuse_picture(width_px: int, height_px: int, limits: LimitSettings) -> None:
    """Raise RefusedError if even a single frame of this size is too large to decode."""
    if width_px * height_px > limits.max_picture_px:
        raise RefusedError(
            f"{width_px}×{height_px} px, over limits.max_picture_px={limits.max_picture_px}",
            ("max_picture_px", limits.max_picture_px),
        )


def refuse_amount(
    size_px: tuple[int | None, int | None], packet_times: PacketTimes, limits: LimitSettings
) -> None:
    """Raise RefusedError for an implausible declared duration, or too many bytes of decoded frames.

    size_px: (width, height) of the frames, (None, None) without video.
    """
    width_px, height_px = size_px
    tracks = [track for track in (packet_times.video, packet_times.audio) if track is not None]
    longest_s = max((t.declared_s or 0.0 for t in tracks), default=0.0)
    if longest_s > limits.max_declared_s:
        raise RefusedError(
            f"its header declares {longest_s:.0f} s, over "
            f"limits.max_declared_s={limits.max_declared_s:.15g}",
            ("max_declared_s", limits.max_declared_s),
        )
    if width_px and height_px:
        size_gb = packet_times.frame_times_s.size * width_px * height_px * _BYTES_PER_PX / 1e9
        if size_gb > limits.max_decoded_gb:
            raise RefusedError(
                f"its pictures decode to {size_gb:.0f} GB, over "
                f"limits.max_decoded_gb={limits.max_decoded_gb:.15g}",
                ("max_decoded_gb", limits.max_decoded_gb),
            )
