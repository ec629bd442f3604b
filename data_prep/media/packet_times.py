"""Packet times of a file's video and audio track, and how much of them is missing.

Nothing is decoded. The packets of the video become an index, by which frame readers plan. A track
ends where its clock breaks: where its times jump back, or forward by more than any pause lasts.
Packets after such a break count as lost.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.clip import BoolArray, FloatArray
from data_prep.decode_errors import captured_stderr
from data_prep.heartbeat import expect_duration
from data_prep.media.container_headers import avi_indexed, missing_end
from data_prep.media.declared_duration import MP4, declared_duration_s, set_declared_durations
from data_prep.media.pcm_data import pcm_view
from data_prep.media.pyav_media import (
    TICKS_PER_S,
    audio_stream,
    packets,
    stated_rate_hz,
    video_stream,
)
from data_prep.media.source import open_source
from data_prep.media.track import Track, cut_at_breaks
from data_prep.settings import RAW_FRAME_RATE_HZ

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PacketIndex:
    """One entry per packet of the video stream, in decode order.

    times_s   [N] presentation time in seconds on the file's clock
    ticks     [N] presentation timestamp in the stream's time base, as decoded frames carry it
    is_key    [N] keyframe: decoding can start here
    is_shown  [N] the frame is presented (no edit list hides it)
    size      [N] bytes
    """

    times_s: FloatArray
    ticks: IntArray
    is_key: BoolArray
    is_shown: BoolArray
    size: IntArray

    def __len__(self) -> int:
        return int(self.ticks.size)

    @property
    def is_reordered(self) -> bool:
        """Whether presentation order differs from decode order (B-frames)."""
        return bool(np.any(np.diff(self.ticks) < 0))

    @property
    def is_reliable(self) -> bool:
        """Whether all timestamps are distinct and the first packet is a keyframe."""
        return bool(
            self.ticks.size and self.is_key[0] and np.unique(self.ticks).size == self.ticks.size
        )


class PacketIndexBuilder:
    """Collects packets one by one."""

    def __init__(self) -> None:
        # arrays, not lists of objects: an hour has some 100 000 packets
        self._times, self._ticks, self._size = array("d"), array("q"), array("q")
        self._flags = bytearray()
        self.is_whole = True
        """False after a packet without a presentation timestamp."""

    def add(self, time_s: float | None, ticks: int | None, flags: int, size: int) -> None:
        """Add a packet. flags: KEY for a keyframe, SHOWN for a frame that is presented."""
        if time_s is None or ticks is None:
            self.is_whole = False
            return
        self._times.append(time_s)
        self._ticks.append(ticks)
        self._flags.append(flags)
        self._size.append(size)

    def build(self) -> PacketIndex | None:
        """The index, or None if there are no packets or one of them has no timestamp."""
        if not self.is_whole or not self._ticks:
            return None
        flags = np.frombuffer(bytes(self._flags), np.uint8)
        return PacketIndex(
            np.array(self._times), np.array(self._ticks), (flags & KEY) > 0, (flags & SHOWN) > 0,
            np.array(self._size),
        )  # fmt: skip


KEY, SHOWN = 1, 2


# Containers in which a gap may be a pause; in all others a gap is lost data.
_PAUSING = frozenset({MP4, "matroska,webm", "flv", "mpegts", "mpeg", "nut", "asf", "rm", "mxf"})

# Containers without an index after the data: bytes left unread at the end are lost data.
_STREAMED = frozenset(
    {"ogg", "mpegts", "mpeg", "mp3", "aac", "flac", "h264", "hevc", "ac3", "eac3", "mpegvideo",
     "m4v", "obu", "amr"}
)  # fmt: skip
# Elementary streams whose packets have no timestamps or ones invented by FFmpeg, and all of them.
_UNTIMED = frozenset({"h264", "hevc", "vvc", "vc1", "dirac", "cavsvideo"})
_RAW = _UNTIMED | {"m4v", "mpegvideo", "mjpeg", "mjpeg_2000", "obu", "h261", "h263"}

# Containers that store only decode times, from which FFmpeg guesses presentation times.
_DECODE_TIMES_ALONE = frozenset({"avi", "asf", "asf_o", "mxf", "mxf_opatom", "mpegvideo", "ogg"})

_WRAPPED = 1 << 31  # ticks; from here on a 32-bit duration was negative
_TAIL_BYTES, _TAIL_SHARE = 70_000, 0.02  # packets report the start of an Ogg page of up to 65 kB


@dataclass(frozen=True)
class PacketTimes:
    """Packet times of the selected streams, in seconds on the file's clock."""

    frame_times_s: FloatArray
    """[N] sorted presentation times of the frames that are presented."""
    video: Track | None
    audio: Track | None
    has_hidden_frames: bool
    """An edit list hides some coded frames, which not every decoder honours."""
    problem: str = ""
    """Complaints of the demuxer and other known defects of the file, or ""."""
    gaps_are_losses: bool = False
    """A gap between packets is lost data: the file is damaged, or its format has no pauses."""
    is_indexed: bool = False
    """The container has an index of its packets, so every packet is part of the recording."""
    consistent: bool = True
    """Frame count and duration in the header agree with the packets."""
    times_in_order: bool = False
    """Packet timestamps are unreliable: the n-th decoded frame is shown at the n-th sorted time."""
    decode_times_fit: bool = False
    """With `times_in_order`: decode times are right, up to a constant delay."""
    packet_index: PacketIndex | None = None
    """Video packets in decode order; None if one of them has no timestamp."""
    remarks: tuple[str, ...] = ()
    """Notes for the user other than what is missing."""

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


def read_packet_times(
    path: str,
    container: Any,
    has_video: bool,
    has_audio: bool,
    raw_frame_rate_hz: float,
    begun: Sequence[Any] = (),
) -> PacketTimes:
    """Times of all video frames and the extent of the audio. Raises MediaError.

    container: the open file. begun: packets of these tracks that were already read from it.
    """
    with captured_stderr() as lines:
        scan = _TimelineReader(container, has_video, has_audio, raw_frame_rate_hz)
        scan.read(begun)
        for name, track in (("picture", scan.picture), ("sound", scan.sound)):
            if track is not None:
                stream = scan.video if name == "picture" else scan.audio
                track.declared_s = declared_duration_s(path, container, stream, track)
        tracks = [track for track in (scan.picture, scan.sound) if track is not None]
        non_empty = [track for track in tracks if not track.is_empty]
        cut_at_breaks(non_empty)
        set_declared_durations(container, non_empty)
        tail = _unread_tail(path, container, scan.last_byte)
        consistent = _consistent(container, scan, non_empty)
        cut_off = missing_end(path, container.format.name)
    # frames that are in the index but not among the packets repeat the previous one
    holds = (
        container.format.name == "avi"
        and not lines
        and scan.video is not None
        and 0 < scan.video.frames <= avi_indexed(path, scan.video.index)
    )
    problems = [*scan.problems, *([tail] if tail else [])] or lines[:1]
    view = pcm_view(path)
    cut_off = cut_off or ("" if view is None else view.problem)
    remarks = (view.remark,) if view is not None and view.remark else ()
    for track in tracks:
        track.is_suspect, track.cut_off = bool(problems), cut_off
    times_s = np.sort(np.frombuffer(scan.times, np.float64)) if scan.times else np.zeros(0)
    if scan.picture is not None and not scan.picture.is_empty:
        times_s = times_s[times_s <= scan.picture.end_s]
        if not scan.picture.broken:
            scan.picture.end_s = _with_last_frame(times_s, scan.picture.end_s)
            scan.picture.end_s = max(scan.picture.end_s, scan.held_until_s)
            if holds:
                scan.picture.hold()
    if tail:
        _stretch_over_tail(path, non_empty, scan.last_byte)
    return PacketTimes(
        times_s, scan.picture, scan.sound, scan.hidden, "; ".join(problems),
        bool(problems) or not (holds or container.format.name in _PAUSING),
        container.format.name in (MP4, "matroska,webm"), consistent, scan.times_in_order,
        scan.decode_times_fit, scan.coded.build(), (*remarks, *scan.remarks),
    )  # fmt: skip


class _TimelineReader:
    """One pass over all packets of the selected streams."""

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
        self.times_in_order = self.decode_times_fit = self._extrapolates = False
        self.held_until_s = float("-inf")
        self._delay_s: float | None = None
        self._frame_s = 0.0
        if self.video is not None:
            self._choose_time_source(container.format.name, self.video, raw_frame_rate_hz)
        self._container = container
        self._bases = {  # integer pairs: Fractions would cost more than the rest of the loop
            stream.index: stream.time_base.as_integer_ratio()
            for stream in (self.video, self.audio)
            if stream is not None
        }

    def _choose_time_source(self, container: str, video: Any, raw_frame_rate_hz: float) -> None:
        """Set how frame times are derived where packet timestamps are missing or unreliable."""
        if container in _RAW:
            stated_hz = stated_rate_hz(video)
            rate_hz = stated_hz or raw_frame_rate_hz
            if container in _UNTIMED or stated_hz is None:
                self.untimed_rate_hz, self.times_in_order = rate_hz, True
            if stated_hz is None:
                self.remarks.append(
                    f"its stream states no frame rate: {rate_hz:g} per second are assumed "
                    "(clip.raw_frame_rate_hz)"
                )
        if container in _DECODE_TIMES_ALONE:
            self.times_in_order = True
            self.decode_times_fit = container != "ogg"  # FFmpeg invents decode times for Ogg
            # without B-frames decode and presentation order agree, so the packet index is usable
            self.coded.is_whole = not video.codec_context.has_b_frames
        if container == "mpeg" and video.codec_context.name in ("h264", "hevc"):
            # one packet of a program stream holds several frames but only the first one's time
            self.times_in_order = self._extrapolates = True
            self._frame_s = 1 / (stated_rate_hz(video) or RAW_FRAME_RATE_HZ)

    def read(self, first_packets: Sequence[Any]) -> None:
        corrupt = 0
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        rest = packets(self._container, streams, self.problems)
        for packet in itertools.chain(first_packets, rest):
            if packet.size == 0:
                self._record_hold(packet)
                continue
            corrupt += packet.is_corrupt
            self.last_byte = max(self.last_byte, (packet.pos or 0) + packet.size)
            if self.video is not None and packet.stream_index == self.video.index:
                self._add_video_packet(packet)
            elif self.sound is not None:
                self._add_to_track(self.sound, packet, self._time_s(packet))
        if corrupt:
            self.problems.append(f"{corrupt} damaged packet{'s' if corrupt > 1 else ''}")

    def _record_hold(self, packet: Any) -> None:
        """An empty packet with a timestamp holds the previous frame for its duration."""
        is_picture = self.video is not None and packet.stream_index == self.video.index
        time_s = self._time_s(packet) if is_picture else None
        if time_s is not None:
            duration_s = self._seconds(packet, packet.duration or 0)
            self.held_until_s = max(self.held_until_s, time_s + duration_s)

    def _add_video_packet(self, packet: Any) -> None:
        assert self.picture is not None
        self.n_pictures += 1
        if self.untimed_rate_hz is not None:
            time_s: float | None = len(self.times) / self.untimed_rate_hz
        else:
            time_s = self._in_order_s(packet) if self.times_in_order else self._time_s(packet)
        flags = (KEY if packet.is_keyframe else 0) | (0 if packet.is_discard else SHOWN)
        self.coded.add(time_s, packet.pts, flags, packet.size)
        if packet.is_discard:  # hidden by an edit list, but other frames may refer to it
            self.hidden = True
            return
        if self._add_to_track(self.picture, packet, time_s) and time_s is not None:
            self.times.append(time_s)
        else:
            self.coded.is_whole = False

    def _in_order_s(self, packet: Any) -> float | None:
        """Presentation time of the frame that the decoder outputs for this packet.

        The decode time plus the delay of the first frame; extrapolated for packets without one.
        """
        if self._container.format.name == "ogg":  # FFmpeg invents its decode times
            return self._time_s(packet)
        if packet.dts is not None:
            if self._delay_s is None:
                shown = packet.pts if packet.pts is not None and self._extrapolates else packet.dts
                self._delay_s = self._seconds(packet, shown - packet.dts)
            return self._seconds(packet, packet.dts) + self._delay_s
        return self.times[-1] + self._frame_s if self.times else None

    def _add_to_track(self, track: Track, packet: Any, time_s: float | None) -> bool:
        if time_s is None:
            return False
        numerator, denominator = self._bases[packet.stream_index]
        dts_s = None if packet.dts is None else packet.dts * numerator / denominator
        ticks = max(0, packet.duration or 0)
        ticks = 0 if ticks >= _WRAPPED else ticks  # negative in short Vorbis files
        duration_s = ticks * numerator / denominator
        if track is self.picture and self.untimed_rate_hz is not None:
            duration_s = 1 / self.untimed_rate_hz
        is_added = track.add(time_s, dts_s, duration_s)
        expect_duration(track.end_s - track.start_s)
        return is_added

    def _time_s(self, packet: Any) -> float | None:
        time = packet.pts if packet.pts is not None else packet.dts
        return None if time is None else self._seconds(packet, time)

    def _seconds(self, packet: Any, ticks: int) -> float:
        numerator, denominator = self._bases[packet.stream_index]
        return float(ticks * numerator / denominator)


def _consistent(container: Any, scan: _TimelineReader, tracks: list[Track]) -> bool:
    """Whether the file is safe for decoders that trust the header's frame count and duration."""
    count = scan.video.frames if scan.video is not None else 0
    if count and count != scan.n_pictures:
        return False
    if not tracks or not container.duration:
        return True
    span_s = max(t.end_s for t in tracks) - min(t.start_s for t in tracks)
    return bool(0 <= container.duration / TICKS_PER_S <= 2 * span_s + 60)


def _unread_tail(path: str, container: Any, last_byte: int) -> str:
    """Message about a tail that a demuxer silently left unread after losing sync, or ""."""
    size = Path(path).stat().st_size
    left = size - last_byte
    if container.format.name not in _STREAMED or last_byte <= 0:
        return ""
    if left <= max(_TAIL_BYTES, _TAIL_SHARE * size) or _ends_in_tag(path):
        return ""
    return f"its last {left} of {size} bytes cannot be read"


def _ends_in_tag(path: str) -> bool:
    """Whether the file ends in an APEv2 or Lyrics3 tag, which may hold large cover art."""
    with open_source(path) as file:
        file.seek(-min(Path(path).stat().st_size, 256), 2)
        end = file.read()
    return b"APETAGEX" in end or b"LYRICS200" in end


def _stretch_over_tail(path: str, tracks: list[Track], last_byte: int) -> None:
    """Estimate durations that no header declares: the unread end counts at the mean bit rate."""
    size = Path(path).stat().st_size
    for track in tracks:
        if track.declared_s is None:
            track.declared_s = (track.end_s - track.start_s) * size / last_byte


def _with_last_frame(times_s: FloatArray, end_s: float) -> float:
    """End of the last frame; its duration is the median one where packets declare none."""
    if end_s > times_s[-1]:
        return end_s
    # 0.04 s: one frame at 25 Hz
    return float(times_s[-1] + (np.median(np.diff(times_s)) if times_s.size > 1 else 0.04))
