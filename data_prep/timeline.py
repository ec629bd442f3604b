"""When a file's pictures and sound are, from its packets alone, and how much there should be.

Nothing is decoded. A track's time ends where its clock breaks: at a jump back, or a jump forward
by more than any pause is long. What lies behind such a break counts as not read.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.chatter import overheard
from data_prep.clip import FloatArray
from data_prep.progress import plan
from data_prep.pyav_media import (
    TICKS_PER_S,
    audio_stream,
    open_media,
    packets,
    video_stream,
)

_BACK_S = 1.0  # decode times never go back; jitter of careless muxers does, by a few frames
_PAUSE_S = 600.0  # a recording that shows and says nothing for longer has a broken clock
_GAP_S = 0.1

# Containers whose header says how long the recording is; elsewhere FFmpeg's duration is an
# estimate from bit rates, or taken from the file's own last timestamp.
_DECLARING = frozenset(
    {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "wav", "w64", "flac", "aiff", "au",
     "caf", "asf", "rm", "mxf", "ivf", "wv", "tta", "ape"}
)  # fmt: skip


@dataclass
class Track:
    """One track by its packets; times in seconds on the file's clock.

    start_s, end_s  the stretch whose clock is whole
    lost_s          length of the packets behind a break of the clock
    declared_s      length by the header, None where it says nothing
    gaps_s          stretches of more than 0.1 s without a packet
    broken          how the clock breaks, or ""
    """

    start_s: float = float("inf")
    end_s: float = float("-inf")
    lost_s: float = 0.0
    declared_s: float | None = None
    gaps_s: list[tuple[float, float]] = field(default_factory=list)
    broken: str = ""
    n_packets: int = 0
    _last_dts_s: float | None = None
    _last_end_s: float = 0.0

    def add(self, start_s: float, dts_s: float | None, duration_s: float) -> bool:
        """Take a packet in; False where it lies behind a break."""
        if self.broken:
            self.lost_s += duration_s
            return False
        clock_s = dts_s if dts_s is not None else start_s
        if self._last_dts_s is not None:
            pause_s = clock_s - max(self._last_end_s, self._last_dts_s)
            back = dts_s is not None and clock_s < self._last_dts_s - _BACK_S
            if back or pause_s > _PAUSE_S:
                way = "go back" if back else "jump"
                self.broken = f"its times {way} from {self._last_dts_s:.1f} to {clock_s:.1f} s"
                self.lost_s += duration_s
                return False
            if pause_s > _GAP_S:
                self.gaps_s.append((self._last_end_s, start_s))
        self.n_packets += 1
        self._last_dts_s, self._last_end_s = clock_s, clock_s + duration_s
        self.start_s = min(self.start_s, start_s)
        self.end_s = max(self.end_s, start_s + duration_s)
        return True

    @property
    def is_empty(self) -> bool:
        return self.n_packets == 0 or self.end_s < self.start_s

    @property
    def missing_s(self) -> float:
        """What should follow the whole stretch and does not: cut off, or behind a break."""
        if self.is_empty:
            return 0.0 if self.declared_s is None else self.declared_s
        short_s = 0.0
        if self.declared_s is not None:
            short_s = self.declared_s - (self.end_s - self.start_s)
            short_s = short_s if short_s > tolerance_s(self.declared_s) else 0.0
        return max(short_s, self.lost_s)


@dataclass(frozen=True)
class Timeline:
    """Packet times of the chosen streams."""

    frame_times_s: FloatArray
    """[N] sorted presentation times of the frames that are shown."""
    picture: Track | None
    sound: Track | None
    has_hidden_frames: bool
    """An edit list hides some coded frames; not every decoder honours that."""
    problem: str = ""
    """What the container's reader complained about; gaps are then losses, not pauses."""

    @property
    def has_picture(self) -> bool:
        return bool(self.frame_times_s.size)

    @property
    def has_sound(self) -> bool:
        return self.sound is not None and not self.sound.is_empty

    @property
    def end_s(self) -> float:
        """End of the longer track; −∞ where there is neither."""
        ends = [t.end_s for t in (self.picture, self.sound) if t is not None and not t.is_empty]
        return max(ends, default=float("-inf"))


def tolerance_s(total_s: float) -> float:
    """What may be missing at a track's ends unremarked: rounding, priming, a last frame."""
    return max(0.5, 0.02 * total_s)


def read_timeline(path: str, has_video: bool, has_audio: bool) -> Timeline:
    """Times of all frames and the extent of the sound. Raises MediaError."""
    times = array("d")
    problems: list[str] = []
    hidden, corrupt = False, 0
    with open_media(path) as container, overheard() as lines:
        video = video_stream(container) if has_video else None
        audio = audio_stream(container) if has_audio else None
        picture = Track(declared_s=_declared_s(container, video)) if video else None
        sound = Track(declared_s=_declared_s(container, audio)) if audio else None
        streams = [stream for stream in (video, audio) if stream]
        for packet in packets(container, streams, problems):
            corrupt += packet.is_corrupt
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.size == 0:
                continue
            start_s = float(time * packet.time_base)
            dts_s = None if packet.dts is None else float(packet.dts * packet.time_base)
            duration_s = float(max(0, packet.duration or 0) * packet.time_base)
            if video is not None and packet.stream_index == video.index:
                if packet.is_discard:
                    hidden = True
                elif picture is not None and picture.add(start_s, dts_s, duration_s):
                    times.append(start_s)
                    plan(picture.end_s - picture.start_s)
            elif sound is not None and sound.add(start_s, dts_s, duration_s):
                plan(sound.end_s - sound.start_s)
        _declare_together(container, [track for track in (picture, sound) if track is not None])
    if corrupt:
        problems.append(f"{corrupt} damaged packet{'s' if corrupt > 1 else ''}")
    problems += [line for line in lines[:1] if not problems]
    ordered = np.sort(np.frombuffer(times, np.float64)) if times else np.zeros(0)
    if picture is not None and not picture.is_empty:
        picture.end_s = _with_last_frame(ordered, picture.end_s)
    return Timeline(ordered, picture, sound, hidden, "; ".join(problems))


def _declare_together(container: Any, tracks: list[Track]) -> None:
    """Where the header declares one length for all tracks, hold them to it if none reaches it."""
    if container.format.name not in _DECLARING or not container.duration:
        return
    full = [track for track in tracks if not track.is_empty]
    if not full or any(track.declared_s is not None for track in full):
        return
    declared_s = float(container.duration / TICKS_PER_S)
    reached_s = max(t.end_s for t in full) - min(0.0, min(t.start_s for t in full))
    if declared_s - reached_s > tolerance_s(declared_s):
        for track in full:
            track.declared_s = declared_s - max(0.0, track.start_s)


def _with_last_frame(times_s: FloatArray, end_s: float) -> float:
    """The end of the picture, also where packets have no durations."""
    if end_s > times_s[-1]:
        return end_s
    return float(times_s[-1] + (np.median(np.diff(times_s)) if times_s.size > 1 else 0.04))


def _declared_s(container: Any, stream: Any) -> float | None:
    """How long the header says a track is; None where it is silent or only estimated."""
    if container.format.name not in _DECLARING:
        return None
    tag = re.match(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    if tag is not None:  # matroska
        length = 3600.0 * int(tag[1]) + 60.0 * int(tag[2]) + float(tag[3])
        start_s = float((stream.start_time or 0) * stream.time_base)
        return max(0.0, length - start_s)  # the tag names the track's end
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / TICKS_PER_S)
    return None
