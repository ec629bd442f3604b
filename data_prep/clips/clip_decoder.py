"""Decode a file or segment to clip chunks, or raise a typed MediaError.

Time zero is the first video frame (the first audio if there is no video), or the start of the
labelled segment. The clip is as long as the longer of its two tracks.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

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
from data_prep.clips.file_survey import energy_above
from data_prep.clips.read_coverage import ClipWindow, ReadCoverage, expected_shortfall
from data_prep.decode_errors import DecodeErrors
from data_prep.heartbeat import expect_duration
from data_prep.media.probe import MediaInfo, examine
from data_prep.media.timeline import Timeline
from data_prep.settings import (
    RAW_FRAME_RATE_HZ,
    STEPS_PER_CHUNK,
    DecodeSettings,
    LimitSettings,
)
from data_prep.status import NoUsableStreamError, Status
from data_prep.video.frame_reader import (
    FALLBACK_ERRORS,
    FrameReader,
    FrameTimes,
    open_frame_reader,
    open_sequential_reader,
    side_px,
)
from data_prep.video.resize import decode_jpeg, encode_jpeg, fit_square
from data_prep.video.sampling import clamp_to_picture, frame_shown_at, step_count, wanted_times_s
from data_prep.video.shared_frames import FrameBuffers, PrivateBuffers
from data_prep.video.webp_reader import examine_webp, is_animated_webp

_MOSTLY_ABOVE = 0.5
SHORT_S = 0.2
_EARLY_SOUND_S = 2.5  # some cameras start audio before video; dropping this much is not reported
_LATE_S = 0.25  # tolerated lag of a decoded frame behind the one that the packets promise

ClipChunks = Generator[ClipChunk, None, DecodeSummary]


def examine_cached(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ
) -> tuple[MediaInfo, Timeline]:
    """Streams and packet times of a file, cached for its next segment. Raises MediaError."""
    try:
        stat = Path(path).stat()
    except OSError:  # `examine` reports why
        return _examine(path, limits, raw_frame_rate_hz)
    return _examine_cached(path, limits, raw_frame_rate_hz, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2)
def _examine_cached(
    path: str,
    limits: LimitSettings,
    raw_frame_rate_hz: float,
    size_bytes: int,  # part of the cache key only, so that a changed file is read again
    changed_ns: int,
) -> tuple[MediaInfo, Timeline]:
    return _examine(path, limits, raw_frame_rate_hz)


def _examine(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float
) -> tuple[MediaInfo, Timeline]:
    if is_animated_webp(path):  # FFmpeg has no decoder for it
        return examine_webp(path, limits)
    return examine(path, limits, raw_frame_rate_hz)


def survey_file(
    path: str,
    limits: LimitSettings,
    raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ,
    kept_hz: float | None = None,
) -> MediaInfo:
    """Properties of a file, its duration by its packets and what is missing. Raises MediaError.

    Demuxes the whole file and decodes a single frame. kept_hz: the highest frequency that clips
    keep; a remark is added if most of the audio energy is above it.
    """
    info, timeline = examine_cached(path, limits, raw_frame_rate_hz)
    missing = expected_shortfall(timeline)
    missing = "; ".join(filter(None, (_undecodable_track(info, True, True), missing)))
    remarks = [*timeline.remarks, *_unused_audio_tracks(info)]
    # the extra decoding is needed only if the file's Nyquist frequency is above kept_hz
    if info.has_audio and kept_hz is not None and (info.audio_rate_hz or 0) / 2 > kept_hz:
        share = energy_above(path, kept_hz)
        if share > _MOSTLY_ABOVE:
            remarks.append(
                f"{100 * share:.0f} % of the energy of its sound lies above "
                f"{kept_hz / 1000:g} kHz, which clips do not keep (clip.audio_rate_hz)"
            )
    return replace(
        info, duration_s=timeline.end_s - info.zero_s, problem=missing, remarks=tuple(remarks)
    )


def _unused_audio_tracks(info: MediaInfo) -> list[str]:
    """Remark on unused mono tracks."""
    if info.audio_channels != 1 or info.n_audio_tracks < 2:
        return []  # several stereo tracks are usually languages, several mono ones microphones
    return [f"it has {info.n_audio_tracks} sound tracks, of which the first is heard"]


def _undecodable_track(info: MediaInfo, want_picture: bool, want_sound: bool) -> str:
    """Message about a track that cannot be decoded at all, or ""."""
    if info.video_error and want_picture:
        return f"only its sound: the picture cannot be decoded ({info.video_error})"
    if info.audio_error and want_sound:
        return f"only its picture: the sound cannot be decoded ({info.audio_error})"
    return ""


def decode_clip(
    source: ClipSource, settings: DecodeSettings, buffers: FrameBuffers | None = None
) -> ClipChunks:
    """Yield the chunks of a clip in order; return a DecodeSummary. Raises MediaError.

    buffers: memory for the frames, newly allocated by default. Missing or damaged data is masked in
    the chunks and described in the summary.
    """
    reader = _open_clip(source, settings)
    coverage = ReadCoverage(reader.window, reader.timeline, settings.clip)
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
    timeline: Timeline
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
        return int(self.times.wanted_s.size)

    def read_frames(self, steps: slice, squares: UInt8Array) -> FloatArray:
        """Write the frames of some steps into `squares`, uint8 [T, C, H, W].

        Returns float64 [T]: frame times in s from time zero, NaN for steps without a frame.
        """
        times = FrameTimes(self.times.wanted_s[steps], self.times.asked_s[steps])
        try:
            return self._read_frames(times, squares)
        except FALLBACK_ERRORS as error:
            self.fallback_reason = str(error)  # later chunks use the sequential reader too
            self.frames = open_sequential_reader(self.path, self.info, self.timeline, self.settings)
            return self._read_frames(times, squares)

    def _read_frames(self, times: FrameTimes, squares: UInt8Array) -> FloatArray:
        """Read frames from the current reader, dropping stale ones.

        After damage a reader keeps returning its last good frame. Such a frame is accepted only if
        it is close enough to the step, or is the one displayed then according to the packets.
        """
        clip, asked_s, timeline = self.settings.clip, times.asked_s, self.timeline
        times_s = np.full(asked_s.size, np.nan)
        if self.frames is None:
            return times_s
        shown = timeline.frame_times_s[frame_shown_at(timeline.frame_times_s, asked_s)]
        oldest_s = times.wanted_s - max(clip.step_s / 2, clip.tolerance_s)
        if not timeline.problem:  # in an intact file a pause between packets holds the frame
            oldest_s = np.minimum(oldest_s, shown - _LATE_S)
        # MPEG-4 holds a frame by empty ("not coded") frames, which decoders do not return
        holds = self.info.video_codec == "mpeg4" and not timeline.problem
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
        one_track = _undecodable_track(self.info, settings.want_video, settings.want_audio)
        missing = [text for text in (one_track, self.no_channel, shortfall, window.cut) if text]
        remarks = [*self.timeline.remarks]
        if self.audio:
            remarks += [*_unused_audio_tracks(self.info), *self.audio_reader.remarks()]
        remarks = [remark for remark in remarks if remark not in shortfall]  # no reason twice
        return DecodeSummary(
            status=Status.PARTIAL if missing else Status.OK,
            reason="; ".join([*missing, *remarks]),
            duration_s=window.duration_s,
            n_steps=self.n_steps,
            has_video=coverage.decoded_video if settings.want_video else self.timeline.has_video,
            has_audio=coverage.decoded_audio if settings.want_audio else self.timeline.has_audio,
            decode_strategy=frames.name if frames else "",
            fallback_reason=self.fallback_reason,
            limit=window.limit,
        )


def _open_clip(source: ClipSource, settings: DecodeSettings) -> _ClipReader:
    """Examine a file and open the readers of the clip. Raises MediaError."""
    info, timeline = examine_cached(source.path, settings.limits, settings.clip.raw_frame_rate_hz)
    window = _window(source, info, timeline, settings.limits)
    expect_duration(window.duration_s)
    n_steps = step_count(window.duration_s, settings.clip.file_frame_rate_hz)
    times = _frame_times(n_steps, window, settings)
    no_channel = _missing_channel(info, settings)
    losses = DecodeErrors()
    reader = _open_audio(source.path, info, window, settings, losses)
    wants_sound = timeline.has_audio and settings.want_audio and not no_channel
    return _ClipReader(
        source.path, settings, info, timeline, window, times,
        open_frame_reader(source.path, info, timeline, times, settings),
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
    source: ClipSource, info: MediaInfo, timeline: Timeline, limits: LimitSettings
) -> ClipWindow:
    file_zero_s = info.zero_s
    if timeline.has_video and file_zero_s - timeline.frame_times_s[0] > 0.5:
        file_zero_s = float(timeline.frame_times_s[0])  # undecodable at its start
    total_s = timeline.end_s - file_zero_s
    if total_s <= 0:
        raise NoUsableStreamError("its tracks hold no playable time")
    start_s = source.start_s or 0.0
    # raises where the segment is outside of the file, else says what of it is missing
    cut_short = check_segment(source.start_s, source.end_s, total_s)
    end_s = min(total_s, source.end_s if source.end_s is not None else total_s)
    cut = ""
    # audio before time zero is not part of a clip
    if start_s == 0 and timeline.has_audio and timeline.audio is not None:
        before_s = file_zero_s - timeline.audio.start_s
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
    if timeline.has_video and timeline.video is not None:
        picture_start_s = file_zero_s - zero_s
        picture_end_s = timeline.video.end_s - zero_s
    return ClipWindow(
        zero_s, end_s - start_s, picture_start_s, picture_end_s, cut, limit, end_s == total_s
    )


def _frame_times(n_steps: int, window: ClipWindow, settings: DecodeSettings) -> FrameTimes:
    clip = settings.clip
    wanted_s = wanted_times_s(0, n_steps, clip.file_frame_rate_hz)
    # clamp to the segment too, which starts after its file and ends before it
    start_s, end_s = max(0.0, window.video_start_s), min(window.video_end_s, window.duration_s)
    inside_s = clamp_to_picture(wanted_s, clip.step_s, start_s, end_s)
    bounds_s = (window.zero_s, window.zero_s + window.duration_s)
    return FrameTimes(wanted_s + window.zero_s, inside_s + window.zero_s, bounds_s)


def _missing_channel(info: MediaInfo, settings: DecodeSettings) -> str:
    """Message that the file lacks the requested channel, or ""."""
    wanted, count = settings.clip.audio_channel, info.audio_channels
    if not settings.want_audio or not isinstance(wanted, int) or count is None or wanted <= count:
        return ""
    return f"its sound is not used: it has {count} channels (clip.audio_channel={wanted})"


def _open_audio(
    path: str, info: MediaInfo, window: ClipWindow, settings: DecodeSettings, losses: DecodeErrors
) -> AudioReader:
    into_s, until_s = window.zero_s - info.zero_s, window.zero_s + window.duration_s
    return AudioReader(path, settings.clip, window.zero_s, into_s, until_s, losses)


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
    waveform, scale = quantize(wave)
    chunk = ClipChunk(index, frames, times_s, waveform, video_mask, audio_mask, jpegs, scale)
    return chunk, n_decoded
