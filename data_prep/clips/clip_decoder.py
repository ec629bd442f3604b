"""Decodes a file or segment to clip chunks, or raises a typed MediaError.

Time zero is the first video frame (the first audio if there is no video), or the start of the
labelled segment. The clip is as long as the longer of its two tracks. How much of each track was
read is counted chunk by chunk and reported at the end: "read 4.20 of 8.00 s of picture: …".
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from data_prep.audio.audio_reader import AlignedAudio, AudioReader, audio_mask_of
from data_prep.clip import (
    BoolArray,
    ClipChunk,
    ClipSource,
    DecodeSummary,
    FloatArray,
    UInt8Array,
    check_segment,
    quantize,
)
from data_prep.clips.file_survey import (
    LESS_THAN_DECLARED,
    examine_cached,
    read_of_total,
    undecodable_track,
    unused_audio_tracks,
)
from data_prep.decode_errors import DecodeErrors
from data_prep.heartbeat import expect_duration
from data_prep.media.demuxer import Demuxer
from data_prep.media.packet_times import PacketTimes
from data_prep.media.probe import MediaInfo
from data_prep.media.track import Track, tolerance_s
from data_prep.settings import (
    STEPS_PER_CHUNK,
    ClipSettings,
    DecodeSettings,
    LimitSettings,
)
from data_prep.status import Limit, NoUsableStreamError, Status
from data_prep.video.frame_reader import (
    FALLBACK_ERRORS,
    FrameReader,
    FrameTimes,
    open_frame_reader,
    open_sequential_reader,
    side_px,
)
from data_prep.video.resize import decode_jpeg, encode_jpeg, fit_square
from data_prep.video.sampling import clamp_to_picture, frame_shown_at, step_count, target_times_s
from data_prep.video.shared_frames import FrameBuffers, PrivateBuffers

_ROUNDING_S = 0.25  # priming and padding of audio codecs, or up to two video frames


@dataclass(frozen=True)
class ClipWindow:
    """The clip on the file's clock.

    zero_s                      time zero of the clip, on the file's clock
    duration_s                  length of the clip
    video_start_s, video_end_s  extent of the video, counted from time zero
    """

    zero_s: float
    duration_s: float
    video_start_s: float
    video_end_s: float
    cut: str = ""
    """Why the clip is shorter than the file or the requested segment, or ""."""
    limit: Limit | None = None
    """The limit that shortened it, or None."""
    reaches_file_end: bool = True
    """Whether the clip extends to the end of the file."""


def _is_certain_loss(losses: DecodeErrors, packet_times: PacketTimes) -> bool:
    """Whether undecodable packets were part of the recording, not junk after its end."""
    # every packet in an index belongs to the recording; elsewhere the last ones may be junk
    return bool(losses.middle or (losses.trailing and packet_times.is_indexed))


class ReadCoverage:
    """Compares what the chunks of one clip hold with what its packets promise."""

    def __init__(self, window: ClipWindow, packet_times: PacketTimes, clip: ClipSettings) -> None:
        self._window, self._packet_times, self._clip = window, packet_times, clip
        self._missing_video_s = self._decoded_audio_s = self._steps_end_s = 0.0
        self._last_frame_s = float("inf")
        self.decoded_video = self.decoded_audio = False

    def add(self, chunk: ClipChunk, n_decoded: int) -> None:
        """Add the next chunk. n_decoded: number of its audio samples that were decoded."""
        step_s = self._clip.step_s
        starts = (chunk.index * STEPS_PER_CHUNK + np.arange(chunk.n_steps)) * step_s
        covered = np.minimum(starts + step_s, self._window.video_end_s) - np.maximum(
            starts, self._window.video_start_s
        )
        self._missing_video_s += float(np.clip(covered, 0, None)[~chunk.video_mask].sum())
        self._steps_end_s = float(starts[-1]) + step_s
        self._decoded_audio_s += n_decoded / self._clip.file_audio_rate_hz
        self.decoded_video |= bool(chunk.video_mask.any())
        self.decoded_audio |= bool(chunk.audio_mask.any())

    def is_damaged(self, pictures: DecodeErrors | None, sounds: DecodeErrors | None) -> bool:
        """Whether the file has a known problem or decoding errors other than at its start."""
        # `leading` errors do not count: recordings cut out of a stream start with some
        return bool(self._packet_times.problem) or any(
            losses is not None and losses.middle + losses.trailing for losses in (pictures, sounds)
        )

    def set_last_frame(self, last_frame_s: float | None) -> None:
        """Set the time of the last good video frame, on the file's clock; None if unknown."""
        if last_frame_s is not None and self._packet_times.frame_times_s.size > 1:
            frame_s = float(np.median(np.diff(self._packet_times.frame_times_s)))
            self._last_frame_s = last_frame_s + frame_s - self._window.zero_s

    def shortfall(
        self, pictures: DecodeErrors | None, sounds: DecodeErrors | None, masked: str = ""
    ) -> str:
        """Message about what was not read, or "".

        pictures, sounds: decoding errors, None for a track that was not requested. masked: why
        some decoded audio is masked out, or "".
        """
        is_damaged = self.is_damaged(pictures, sounds)
        by_track = {
            name: self._track_shortfall(name, track, losses, is_damaged)
            for name, track, losses in (
                ("picture", self._packet_times.video, pictures),
                ("sound", self._packet_times.audio, sounds),
            )
            if losses is not None and track is not None and not track.is_empty
        }
        parts = [part for part, _ in by_track.values() if part]
        if not parts:
            return ""
        reasons = [reason for _, reason in by_track.values() if reason]
        sound_part, _ = by_track.get("sound", ("", ""))
        reasons += [masked] if masked and sound_part else []
        if self._packet_times.problem:
            reasons.append(f"the file is damaged: {self._packet_times.problem}")
        return f"read {', '.join(parts)}: {'; '.join(reasons) or LESS_THAN_DECLARED}"

    def _track_shortfall(
        self, name: str, track: Track, losses: DecodeErrors, is_damaged: bool
    ) -> tuple[str, str]:
        """("4.2 of 10.0 s of picture", reason) of one track, or ("", "")."""
        coverage_of = self._video_coverage if name == "picture" else self._audio_coverage
        read_s, total_s, allowed_s = coverage_of(track, is_damaged)
        if name == "picture" and (losses.total or is_damaged):  # steps are too coarse for this
            whole_s = total_s - self._gaps_s(track)
            reached_s = self._last_frame_s - max(0.0, self._window.video_start_s)
            # least of three estimates: masks, share of good frames, time of the last good frame
            read_s = min(read_s, losses.success_share * whole_s, reached_s)
        is_short = total_s - read_s > allowed_s
        if track.cut_off and not is_short:  # truncated by an unknown amount, so there is no total
            return f"{read_s:.1f} s of {name}, of an unknown length", track.cut_off
        if not (is_short or track.broken or _is_certain_loss(losses, self._packet_times)):
            return "", ""
        part = f"{read_of_total(read_s, total_s)} of {name}"
        if track.broken:
            return part, f"{track.broken} ({name})"
        if losses.total:
            count = "1 piece" if losses.total == 1 else f"{losses.total} pieces"
            return part, f"{count} of {name} damaged: {losses.reason}"
        return part, track.cut_off

    def _video_coverage(self, track: Track, is_damaged: bool) -> tuple[float, float, float]:
        """(read, total, allowed to be missing) in seconds."""
        window = self._window
        begin = max(0.0, window.video_start_s)
        span_s = max(0.0, min(window.video_end_s, window.duration_s) - begin)
        # the end of the file is no loss to a clip that stops before it
        missing_s = track.missing_s if window.reaches_file_end else 0.0
        return span_s - self._missing_video_s, span_s + missing_s, _ROUNDING_S

    def _audio_coverage(self, track: Track, is_damaged: bool) -> tuple[float, float, float]:
        window = self._window
        begin = max(track.start_s, window.zero_s)
        end = min(track.end_s, window.zero_s + window.duration_s)
        span_s = max(0.0, end - begin)
        if not (is_damaged or self._packet_times.gaps_are_losses):
            span_s -= self._gaps_s(track)  # a gap between packets is recorded silence
        # less than half a step at the end is not part of any step
        beyond_steps_s = max(0.0, end - window.zero_s - self._steps_end_s)
        missing_s = track.missing_s if window.reaches_file_end else 0.0
        total_s = span_s + missing_s
        return (
            min(self._decoded_audio_s + beyond_steps_s, total_s),
            total_s,
            max(_ROUNDING_S, tolerance_s(total_s, track.is_suspect) / 2),
        )

    def _gaps_s(self, track: Track) -> float:
        """Seconds inside the clip without packets of the track."""
        begin, end = self._window.zero_s, self._window.zero_s + self._window.duration_s
        inside = (min(stop, end) - max(start, begin) for start, stop in track.gaps_s)
        return sum(max(0.0, length) for length in inside)


SHORT_S = 0.2
_EARLY_SOUND_S = 2.5  # some cameras start audio before video; dropping this much is not reported
_LATE_S = 0.25  # tolerated lag of a decoded frame behind the one that the packets promise

ClipChunks = Generator[ClipChunk, None, DecodeSummary]


def decode_clip(
    source: ClipSource, settings: DecodeSettings, buffers: FrameBuffers | None = None
) -> ClipChunks:
    """Yield the chunks of a clip in order; return a DecodeSummary. Raises MediaError.

    buffers: memory for the frames, newly allocated by default. Missing or damaged data is masked in
    the chunks and described in the summary.
    """
    reader = _open_clip(source, settings)
    coverage = ReadCoverage(reader.window, reader.packet_times, settings.clip)
    buffers, side = (
        buffers or PrivateBuffers(),
        side_px(settings.clip) if settings.want_video else 0,
    )
    for first in range(0, reader.n_steps, STEPS_PER_CHUNK):
        count = min(STEPS_PER_CHUNK, reader.n_steps - first)
        squares = buffers.acquire(count, side)
        pictures = (squares, reader.read_frames(slice(first, first + count), squares))
        chunk, n_decoded = _chunk(first, count, pictures, reader.audio, reader.window, settings)
        coverage.add(chunk, n_decoded)
        yield chunk
    return reader.summary(coverage)


@dataclass
class _ClipReader:
    """An open clip: its properties, and the readers of its tracks."""

    path: str
    settings: DecodeSettings
    info: MediaInfo
    packet_times: PacketTimes
    window: ClipWindow
    times: FrameTimes
    frames: FrameReader | None
    audio_reader: AudioReader
    audio: AlignedAudio | None
    """None if the clip has no audio or none is wanted."""
    audio_errors: DecodeErrors
    no_channel: str
    """Why the requested channel does not exist, or ""."""
    fallback_reason: str = ""
    """Why the sequential reader had to take over, or ""."""

    @property
    def n_steps(self) -> int:
        return int(self.times.target_s.size)

    def read_frames(self, steps: slice, squares: UInt8Array) -> FloatArray:
        """Write the frames of some steps into `squares`, uint8 [T, C, H, W].

        Returns float64 [T]: frame times in s from time zero, NaN for steps without a frame.
        """
        times = FrameTimes(self.times.target_s[steps], self.times.asked_s[steps])
        try:
            return self._read_frames(times, squares)
        except FALLBACK_ERRORS as error:
            self.fallback_reason = str(error)  # later chunks use the sequential reader too
            self.frames = open_sequential_reader(
                self.path, self.info, self.packet_times, self.settings
            )
            return self._read_frames(times, squares)

    def _read_frames(self, times: FrameTimes, squares: UInt8Array) -> FloatArray:
        """Read frames from the current reader, dropping stale ones.

        After damage a reader keeps returning its last good frame. Such a frame is accepted only if
        it is close enough to the step, or is the one displayed then according to the packets.
        """
        clip, asked_s, packet_times = self.settings.clip, times.asked_s, self.packet_times
        times_s = np.full(asked_s.size, np.nan)
        if self.frames is None:
            return times_s
        shown = packet_times.frame_times_s[frame_shown_at(packet_times.frame_times_s, asked_s)]
        oldest_s = times.target_s - max(clip.step_s / 2, clip.tolerance_s)
        if not packet_times.problem:  # in an intact file a pause between packets holds the frame
            oldest_s = np.minimum(oldest_s, shown - _LATE_S)
        # MPEG-4 holds a frame by empty ("not coded") frames, which decoders do not return
        holds = self.info.video_codec == "mpeg4" and not packet_times.problem
        for position, time_s, picture in self.frames.read(asked_s):
            is_near = time_s >= oldest_s[position] - 1e-3
            if is_near or (holds and not self.frames.errors.total):
                fit_square(picture, squares[position])
                times_s[position] = time_s - self.window.zero_s
        return times_s

    def summary(self, coverage: ReadCoverage) -> DecodeSummary:
        """Summary after all chunks were read. Raises NoUsableStreamError if nothing was decoded."""
        window, settings, frames = self.window, self.settings, self.frames
        if frames and coverage.is_damaged(frames.errors, self.audio_errors):
            # masks count full steps; the last good frame shows how far the video really goes
            coverage.set_last_frame(frames.drain(window.zero_s + window.duration_s))
        shortfall = coverage.shortfall(
            frames.errors if frames else None,
            self.audio_errors if self.audio else None,
            self.audio_reader.non_finite_reason,
        )
        wanted = frames or self.audio or self.no_channel
        if not coverage.decoded_video and not coverage.decoded_audio and wanted:
            raise NoUsableStreamError(
                shortfall
                or self.no_channel
                or _too_short(window)
                or "neither picture nor sound could be decoded"
            )
        one_track = undecodable_track(self.info, settings.want_video, settings.want_audio)
        missing = [text for text in (one_track, self.no_channel, shortfall, window.cut) if text]
        remarks = [*self.packet_times.remarks]
        if self.audio:
            remarks += [*unused_audio_tracks(self.info), *self.audio_reader.remarks()]
        remarks = [remark for remark in remarks if remark not in shortfall]  # no reason twice
        return DecodeSummary(
            status=Status.PARTIAL if missing else Status.OK,
            reason="; ".join([*missing, *remarks]),
            duration_s=window.duration_s,
            n_steps=self.n_steps,
            has_video=coverage.decoded_video
            if settings.want_video
            else self.packet_times.has_video,
            has_audio=coverage.decoded_audio
            if settings.want_audio
            else self.packet_times.has_audio,
            decode_strategy=frames.name if frames else "",
            fallback_reason=self.fallback_reason,
            limit=window.limit,
        )


def _open_clip(source: ClipSource, settings: DecodeSettings) -> _ClipReader:
    """Examine a file and open the readers of the clip. Raises MediaError."""
    info, packet_times = examine_cached(
        source.path, settings.limits, settings.clip.raw_frame_rate_hz
    )
    window = _window(source, info, packet_times, settings.limits)
    expect_duration(window.duration_s)
    n_steps = step_count(window.duration_s, settings.clip.file_frame_rate_hz)
    times = _frame_times(n_steps, window, settings)
    no_channel = _missing_channel(info, settings)
    losses = DecodeErrors()
    wants_sound = packet_times.has_audio and settings.want_audio and not no_channel
    coded = packet_times.packet_index
    demuxer = Demuxer(source.path, coded is not None and coded.is_reordered)
    reader = _open_audio(
        source.path, info, window, settings, losses, demuxer if wants_sound else None
    )
    return _ClipReader(
        source.path, settings, info, packet_times, window, times,
        open_frame_reader(source.path, info, packet_times, times, settings, demuxer),
        reader,
        AlignedAudio(reader.pieces(), reader.ignored_spans) if wants_sound else None,
        losses, no_channel,
    )  # fmt: skip


def _too_short(window: ClipWindow) -> str:
    """Message about a clip that is too short for decoders to return anything, or ""."""
    if window.duration_s >= SHORT_S:
        return ""
    return f"it is {1000 * window.duration_s:.0f} ms long, too short to be decoded"


def _window(
    source: ClipSource, info: MediaInfo, packet_times: PacketTimes, limits: LimitSettings
) -> ClipWindow:
    file_zero_s = info.zero_s
    if packet_times.has_video and file_zero_s - packet_times.frame_times_s[0] > 0.5:
        file_zero_s = float(packet_times.frame_times_s[0])  # its first frames cannot be decoded
    total_s = packet_times.end_s - file_zero_s
    if total_s <= 0:
        raise NoUsableStreamError("its tracks have no duration")
    start_s = source.start_s or 0.0
    # raises if the segment is outside of the file, else describes what it lacks
    cut_short = check_segment(source.start_s, source.end_s, total_s)
    end_s = min(total_s, source.end_s if source.end_s is not None else total_s)
    cut = ""
    # audio before time zero is not part of a clip
    if start_s == 0 and packet_times.has_audio and packet_times.audio is not None:
        before_s = file_zero_s - packet_times.audio.start_s
        if before_s > _EARLY_SOUND_S:
            cut = f"{before_s:.1f} s of sound before the first picture are left out"
    cut, limit = cut_short or cut, None
    if end_s - start_s > limits.longest_s:
        cut = (
            f"read {limits.longest_s:.15g} of {end_s - start_s:.0f} s "
            f"(limits.max_duration_s={limits.longest_s:.15g})"
        )
        limit = ("max_duration_s", limits.longest_s)
        end_s = start_s + limits.longest_s
    zero_s = file_zero_s + start_s
    picture_start_s = picture_end_s = 0.0
    if packet_times.has_video and packet_times.video is not None:
        picture_start_s = file_zero_s - zero_s
        picture_end_s = packet_times.video.end_s - zero_s
    return ClipWindow(
        zero_s, end_s - start_s, picture_start_s, picture_end_s, cut, limit, end_s == total_s
    )


def _frame_times(n_steps: int, window: ClipWindow, settings: DecodeSettings) -> FrameTimes:
    clip = settings.clip
    target_s = target_times_s(0, n_steps, clip.file_frame_rate_hz)
    # clamp to the segment too, which starts after its file and ends before it
    start_s, end_s = max(0.0, window.video_start_s), min(window.video_end_s, window.duration_s)
    inside_s = clamp_to_picture(target_s, clip.step_s, start_s, end_s)
    bounds_s = (window.zero_s, window.zero_s + window.duration_s)
    return FrameTimes(target_s + window.zero_s, inside_s + window.zero_s, bounds_s)


def _missing_channel(info: MediaInfo, settings: DecodeSettings) -> str:
    """Message that the file lacks the requested channel, or ""."""
    wanted, count = settings.clip.audio_channel, info.audio_channels
    if not settings.want_audio or not isinstance(wanted, int) or count is None or wanted <= count:
        return ""
    return f"its sound is not used: it has {count} channels (clip.audio_channel={wanted})"


def _open_audio(
    path: str,
    info: MediaInfo,
    window: ClipWindow,
    settings: DecodeSettings,
    losses: DecodeErrors,
    demuxer: Demuxer | None,
) -> AudioReader:
    into_s, until_s = window.zero_s - info.zero_s, window.zero_s + window.duration_s
    return AudioReader(path, settings.clip, window.zero_s, into_s, until_s, losses, demuxer)


def _chunk(
    first: int,
    count: int,
    pictures: tuple[UInt8Array, FloatArray],
    sound: AlignedAudio | None,
    window: ClipWindow,
    settings: DecodeSettings,
) -> tuple[ClipChunk, int]:
    """The chunk, and the number of its audio samples that were decoded."""
    n_decoded = 0
    step = settings.clip.samples_per_step
    rate_hz = settings.clip.file_audio_rate_hz
    clip_samples = round(window.duration_s * rate_hz)
    wave = np.zeros(count * step, np.float32)
    audio_mask: BoolArray = np.zeros(count, np.bool_)
    if sound is not None:
        wave, mask = sound.window(first * step, count * step)
        inside = max(0, clip_samples - first * step)
        wave[inside:], mask[inside:] = 0, False  # a segment may end before its file
        n_decoded = int(mask.sum())
        audio_mask = audio_mask_of(mask, step, inside, rate_hz)
        if clip_samples < rate_hz * SHORT_S:  # a very short clip: any decoded sample counts
            audio_mask |= mask.reshape(count, step).any(axis=1)
    frames, times_s = pictures
    video_mask = ~np.isnan(times_s)
    jpegs: tuple[bytes, ...] = ()
    if settings.want_jpegs or settings.frames_from_jpegs:
        jpegs = tuple(
            encode_jpeg(frame) if has_frame else b""
            for frame, has_frame in zip(frames, video_mask, strict=True)
        )
    if settings.frames_from_jpegs:  # an encoder fine-tuned on stored JPEGs expects their pixels
        for t in np.flatnonzero(video_mask):
            frames[t] = decode_jpeg(jpegs[t])
    index = first // STEPS_PER_CHUNK
    waveform, scale = quantize(wave, fixed_scale=settings.clip.causal)
    chunk = ClipChunk(index, frames, times_s, waveform, video_mask, audio_mask, jpegs, scale)
    return chunk, n_decoded
