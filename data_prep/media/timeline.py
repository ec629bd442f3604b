"""When a file's pictures and sound are, from its packets alone, and how much there should be.

Nothing is decoded. A track's time ends where its clock breaks: at a jump back, or a jump forward
by more than any pause is long. What lies behind such a break counts as not read.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clip import FloatArray
from data_prep.heartbeat import expect_duration
from data_prep.media.container_headers import avi_indexed, missing_end
from data_prep.media.declared_duration import MP4, declared_duration_s, set_declared_durations
from data_prep.media.packet_index import KEY, SHOWN, PacketIndex, PacketIndexBuilder
from data_prep.media.pcm_data import pcm_view
from data_prep.media.pyav_media import (
    TICKS_PER_S,
    audio_stream,
    packets,
    stated_rate_hz,
    video_stream,
)
from data_prep.media.track import Track, cut_at_breaks
from data_prep.settings import RAW_FRAME_RATE_HZ
from data_prep.stderr_capture import captured_stderr

# Containers that can say "nothing for a while"; elsewhere a gap is data that is gone.
_PAUSING = frozenset({MP4, "matroska,webm", "flv", "mpegts", "mpeg", "nut", "asf", "rm", "mxf"})

# Containers without an index behind the data: what is left unread at the end is lost.
_STREAMED = frozenset(
    {"ogg", "mpegts", "mpeg", "mp3", "aac", "flac", "h264", "hevc", "ac3", "eac3", "mpegvideo",
     "m4v", "obu", "amr"}
)  # fmt: skip
# Bare streams; those whose packets have no times, or such as FFmpeg makes up.
_UNTIMED = frozenset({"h264", "hevc", "vvc", "vc1", "dirac", "cavsvideo"})
_RAW = _UNTIMED | {"m4v", "mpegvideo", "mjpeg", "mjpeg_2000", "obu", "h261", "h263"}

# Containers that tell when a packet is decoded; FFmpeg guesses from that when it is shown.
_DECODE_TIMES_ALONE = frozenset({"avi", "asf", "asf_o", "mxf", "mxf_opatom", "mpegvideo", "ogg"})

_WRAPPED = 1 << 31
_TAIL_BYTES, _TAIL_SHARE = 70_000, 0.02  # an Ogg page, known by its start alone, has up to 65 kB


@dataclass(frozen=True)
class Timeline:
    """Packet times of the chosen streams."""

    frame_times_s: FloatArray
    """[N] sorted presentation times of the frames that are shown."""
    video: Track | None
    audio: Track | None
    has_hidden_frames: bool
    """An edit list hides some coded frames; not every decoder honours that."""
    problem: str = ""
    """What the container's reader complained about, or what else is amiss in the file."""
    gaps_are_losses: bool = False
    """The file is damaged, or of a kind that knows no pauses."""
    is_indexed: bool = False
    """Every packet is part of the recording: the container has a list of them."""
    consistent: bool = True
    """Counts and lengths in the header are of the size of what there is."""
    times_in_order: bool = False
    """The packets' own times cannot be believed: frame n that comes out is shown at the n-th."""
    decode_times_fit: bool = False
    """Then, at least times of decoding are right, but for one delay throughout."""
    packet_index: PacketIndex | None = None
    """The picture's packets in the order they are decoded, where all have a place on the clock."""
    remarks: tuple[str, ...] = ()
    """What is to be said of the file beside what is missing."""

    @property
    def has_video(self) -> bool:
        return bool(self.frame_times_s.size) and self.video is not None and not self.video.is_empty

    @property
    def has_audio(self) -> bool:
        return self.audio is not None and not self.audio.is_empty

    @property
    def end_s(self) -> float:
        """End of the longer track; −∞ where there is neither."""
        ends = [t.end_s for t in (self.video, self.audio) if t is not None and not t.is_empty]
        return max(ends, default=float("-inf"))


def read_timeline(
    path: str,
    container: Any,
    has_video: bool,
    has_audio: bool,
    raw_frame_rate_hz: float,
    begun: Sequence[Any] = (),
) -> Timeline:
    """Times of all frames and the extent of the sound. Raises MediaError.

    container: the open file; begun: the packets of these tracks that were read from it already.
    """
    with captured_stderr() as lines:
        reading = _TimelineReader(container, has_video, has_audio, raw_frame_rate_hz)
        reading.read(begun)
        for name, track in (("picture", reading.picture), ("sound", reading.sound)):
            if track is not None:
                stream = reading.video if name == "picture" else reading.audio
                track.declared_s = declared_duration_s(path, container, stream, track)
        tracks = [track for track in (reading.picture, reading.sound) if track is not None]
        full = [track for track in tracks if not track.is_empty]
        cut_at_breaks(full)
        set_declared_durations(container, full)
        tail = _unread_tail(path, container, reading.last_byte)
        consistent = _consistent(container, reading, full)
        cut_off = missing_end(path, container.format.name)
    # pictures without data, which its index lists and no packet holds, are the same again
    holds = (
        container.format.name == "avi"
        and not lines
        and reading.video is not None
        and 0 < reading.video.frames <= avi_indexed(path, reading.video.index)
    )
    problems = [*reading.problems, *([tail] if tail else [])] or lines[:1]
    view = pcm_view(path)
    cut_off = cut_off or ("" if view is None else view.problem)
    remarks = (view.remark,) if view is not None and view.remark else ()
    for track in tracks:
        track.is_suspect, track.cut_off = bool(problems), cut_off
    times_s = np.sort(np.frombuffer(reading.times, np.float64)) if reading.times else np.zeros(0)
    if reading.picture is not None and not reading.picture.is_empty:
        times_s = times_s[times_s <= reading.picture.end_s]
        if not reading.picture.broken:
            reading.picture.end_s = _with_last_frame(times_s, reading.picture.end_s)
            reading.picture.end_s = max(reading.picture.end_s, reading.held_until_s)
            if holds:
                reading.picture.hold()
    if tail:
        _stretch_over_tail(path, full, reading.last_byte)
    return Timeline(
        times_s, reading.picture, reading.sound, reading.hidden, "; ".join(problems),
        bool(problems) or not (holds or container.format.name in _PAUSING),
        container.format.name in (MP4, "matroska,webm"), consistent, reading.times_in_order,
        reading.decode_times_fit, reading.coded.build(), (*remarks, *reading.remarks),
    )  # fmt: skip


class _TimelineReader:
    """One pass over all packets of the chosen streams."""

    def __init__(
        self, container: Any, has_video: bool, has_audio: bool, raw_frame_rate_hz: float
    ) -> None:
        self.video = video_stream(container) if has_video else None
        self.audio = audio_stream(container) if has_audio else None
        self.picture = Track() if self.video is not None else None
        self.sound = Track() if self.audio is not None else None
        self.times = array("d")
        self.coded = PacketIndexBuilder()
        self.problems: list[str] = []
        self.hidden = False
        self.n_pictures = self.last_byte = 0
        self.remarks: list[str] = []
        self.untimed_rate_hz: float | None = None
        self.times_in_order = self.decode_times_fit = self._counts_on = False
        self.held_until_s = float("-inf")
        self._delay_s: float | None = None
        self._frame_s = 0.0
        if self.video is not None:
            self._mistrust_times(container.format.name, self.video, raw_frame_rate_hz)
        self._container = container
        self._bases = {  # integers: Fractions cost more than the rest of the loop
            stream.index: stream.time_base.as_integer_ratio()
            for stream in (self.video, self.audio)
            if stream is not None
        }

    def _mistrust_times(self, container: str, video: Any, raw_frame_rate_hz: float) -> None:
        """Note where pictures come out in order and the packets' times do not."""
        if container in _RAW:
            stated_hz = stated_rate_hz(video)
            rate_hz = stated_hz or raw_frame_rate_hz
            if container in _UNTIMED or stated_hz is None:
                self.untimed_rate_hz, self.times_in_order = rate_hz, True
            if stated_hz is None:
                self.remarks.append(
                    f"its stream states no frame rate: {rate_hz:g} per second are taken "
                    "(clip.raw_frame_rate_hz)"
                )
        if container in _DECODE_TIMES_ALONE:
            self.times_in_order = True
            self.decode_times_fit = container != "ogg"  # for which FFmpeg makes them up
            # without reordering the packets can be planned with, each at its decode time
            self.coded.is_whole = not video.codec_context.has_b_frames
        if container == "mpeg" and video.codec_context.name in ("h264", "hevc"):
            # a packet of the program stream holds several pictures, and the first one's time
            self.times_in_order = self._counts_on = True
            self._frame_s = 1 / (stated_rate_hz(video) or RAW_FRAME_RATE_HZ)

    def read(self, begun: Sequence[Any]) -> None:
        corrupt = 0
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        rest = packets(self._container, streams, self.problems)
        for packet in itertools.chain(begun, rest):
            if packet.size == 0:
                self._note_hold(packet)
                continue
            corrupt += packet.is_corrupt
            self.last_byte = max(self.last_byte, (packet.pos or 0) + packet.size)
            if self.video is not None and packet.stream_index == self.video.index:
                self._take_picture(packet)
            elif self.sound is not None:
                self._take(self.sound, packet, self._time_s(packet))
        if corrupt:
            self.problems.append(f"{corrupt} damaged packet{'s' if corrupt > 1 else ''}")

    def _note_hold(self, packet: Any) -> None:
        """A packet without data but with a time says that the picture stays the same."""
        is_picture = self.video is not None and packet.stream_index == self.video.index
        time_s = self._time_s(packet) if is_picture else None
        if time_s is not None:
            length_s = self._seconds(packet, packet.duration or 0)
            self.held_until_s = max(self.held_until_s, time_s + length_s)

    def _take_picture(self, packet: Any) -> None:
        assert self.picture is not None
        self.n_pictures += 1
        if self.untimed_rate_hz is not None:
            time_s: float | None = len(self.times) / self.untimed_rate_hz
        else:
            time_s = self._in_order_s(packet) if self.times_in_order else self._time_s(packet)
        flags = (KEY if packet.is_keyframe else 0) | (0 if packet.is_discard else SHOWN)
        self.coded.add(time_s, packet.pts, flags, packet.size)
        if packet.is_discard:
            self.hidden = True
            return
        if self._take(self.picture, packet, time_s) and time_s is not None:
            self.times.append(time_s)
        else:
            self.coded.is_whole = False

    def _in_order_s(self, packet: Any) -> float | None:
        """When the picture is shown that comes out for this packet: times of decoding, moved by
        how long the first picture waits, those that are not there counted on."""
        if self._container.format.name == "ogg":  # whose decode times FFmpeg makes up
            return self._time_s(packet)
        if packet.dts is not None:
            if self._delay_s is None:
                shown = packet.pts if packet.pts is not None and self._counts_on else packet.dts
                self._delay_s = self._seconds(packet, shown - packet.dts)
            return self._seconds(packet, packet.dts) + self._delay_s
        return self.times[-1] + self._frame_s if self.times else None

    def _take(self, track: Track, packet: Any, time_s: float | None) -> bool:
        if time_s is None:
            return False
        numerator, denominator = self._bases[packet.stream_index]
        dts_s = None if packet.dts is None else packet.dts * numerator / denominator
        ticks = max(0, packet.duration or 0)
        ticks = 0 if ticks >= _WRAPPED else ticks  # of short Vorbis, a negative one in 32 bits
        duration_s = ticks * numerator / denominator
        if track is self.picture and self.untimed_rate_hz is not None:
            duration_s = 1 / self.untimed_rate_hz
        taken = track.add(time_s, dts_s, duration_s)
        expect_duration(track.end_s - track.start_s)
        return taken

    def _time_s(self, packet: Any) -> float | None:
        time = packet.pts if packet.pts is not None else packet.dts
        return None if time is None else self._seconds(packet, time)

    def _seconds(self, packet: Any, ticks: int) -> float:
        numerator, denominator = self._bases[packet.stream_index]
        return float(ticks * numerator / denominator)


def _consistent(container: Any, reading: _TimelineReader, tracks: list[Track]) -> bool:
    """Whether decoders that trust the header's counts and lengths may be let near the file."""
    count = reading.video.frames if reading.video is not None else 0
    if count and count != reading.n_pictures:
        return False
    if not tracks or not container.duration:
        return True
    span_s = max(t.end_s for t in tracks) - min(t.start_s for t in tracks)
    return bool(0 <= container.duration / TICKS_PER_S <= 2 * span_s + 60)


def _unread_tail(path: str, container: Any, last_byte: int) -> str:
    """What a demuxer that lost its way leaves unread at the end without a word."""
    size = Path(path).stat().st_size
    left = size - last_byte
    if container.format.name not in _STREAMED or last_byte <= 0:
        return ""
    if left <= max(_TAIL_BYTES, _TAIL_SHARE * size) or _ends_in_tag(path):
        return ""
    return f"its last {left} of {size} bytes hold nothing that can be read"


def _ends_in_tag(path: str) -> bool:
    """Whether a tag, which may hold a large cover picture, stands at the end (APEv2, Lyrics3)."""
    with Path(path).open("rb") as file:
        file.seek(-min(Path(path).stat().st_size, 256), 2)
        end = file.read()
    return b"APETAGEX" in end or b"LYRICS200" in end


def _stretch_over_tail(path: str, tracks: list[Track], last_byte: int) -> None:
    """Without a declared length, the unread end is taken to be as dense as what was read."""
    size = Path(path).stat().st_size
    for track in tracks:
        if track.declared_s is None:
            track.declared_s = (track.end_s - track.start_s) * size / last_byte


def _with_last_frame(times_s: FloatArray, end_s: float) -> float:
    """The end of the picture, also where packets have no durations."""
    if end_s > times_s[-1]:
        return end_s
    return float(times_s[-1] + (np.median(np.diff(times_s)) if times_s.size > 1 else 0.04))
