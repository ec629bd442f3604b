"""Duration that a file's header declares for its tracks; a shorter track has lost data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from data_prep.media.container_headers import mp3_length_s, mp4_lengths_s, wav_length_s
from data_prep.media.pcm_data import declared_pcm_s
from data_prep.media.pyav_media import TICKS_PER_S
from data_prep.media.track import Track

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the format."""

# Containers whose header declares a duration; for all others FFmpeg estimates it from bit rates or
# takes it from the last timestamp in the file.
_DECLARING = frozenset(
    {MP4, "matroska,webm", "avi", "flv", "wav", "w64", "flac", "aiff", "au", "caf", "rm",
     "mxf", "ivf", "wv", "tta", "ape"}
)  # fmt: skip

_NO_COUNT = 1 << 30  # placeholder frame count of AVI writers that cannot seek back


def set_declared_durations(container: Any, tracks: list[Track]) -> None:
    """Set `declared_s` of all tracks where the header has one duration and no track reaches it.

    Does nothing if some track has a declared duration of its own.
    """
    if container.format.name not in _DECLARING or not container.duration:
        return
    unfinished = any(stream.frames >= _NO_COUNT for stream in container.streams)
    if not tracks or unfinished or any(track.declared_s is not None for track in tracks):
        return
    declared_s = float(container.duration / TICKS_PER_S)
    reached_s = max(t.end_s for t in tracks) - min(0.0, min(t.start_s for t in tracks))
    if declared_s - reached_s > 0.1:
        for track in tracks:  # one duration does not say which of them is short
            track.declared_s = declared_s - max(0.0, track.start_s)


def declared_duration_s(path: str, container: Any, stream: Any, track: Track) -> float | None:
    """Declared duration of a track in s; None where the header has none or FFmpeg estimates it."""
    name = container.format.name
    read_own: Callable[[], float | None] | None = {
        "mp3": lambda: mp3_length_s(path),
        # the larger one: only declared_pcm_s counts further data chunks, only wav_length_s any RIFF
        "wav": lambda: max(wav_length_s(path) or 0.0, declared_pcm_s(path) or 0.0) or None,
        "caf": lambda: declared_pcm_s(path),
        "w64": lambda: declared_pcm_s(path),
        "avi": lambda: _avi_length_s(stream),
        MP4: lambda: _mp4_length_s(path, stream),
    }.get(name)
    lengths = [read_own()] if read_own is not None else []
    unfinished = name == "avi" and stream.frames >= _NO_COUNT
    if name in _DECLARING and not unfinished:
        length = _ffmpeg_length_s(container, stream, track)
        if length is not None and name == MP4 and lengths == [None] and not track.is_empty:
            length -= max(0.0, track.start_s)  # for fragments FFmpeg reports the end time instead
        lengths.append(length)
    return max((length for length in lengths if length is not None), default=None)


def _ffmpeg_length_s(container: Any, stream: Any, track: Track) -> float | None:
    tag = re.match(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    if tag is not None:  # Matroska has no duration per track, only this tag
        length = 3600.0 * int(tag[1]) + 60.0 * int(tag[2]) + float(tag[3])
        start_s = 0.0 if track.is_empty else max(0.0, track.start_s)
        return max(0.0, length - start_s)  # the tag holds the end time, not a duration
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / TICKS_PER_S)
    return None


def _avi_length_s(stream: Any) -> float | None:
    """Duration by the frame count of the stream header; None without one."""
    if stream.type != "video" or not stream.frames or not stream.average_rate:
        return None
    return None if stream.frames >= _NO_COUNT else float(stream.frames / stream.average_rate)


def _mp4_length_s(path: str, stream: Any) -> float | None:
    lengths = mp4_lengths_s(path)
    has_all_tracks = len(lengths) > stream.index and len(lengths) == len(stream.container.streams)
    return lengths[stream.index] if has_all_tracks else None
