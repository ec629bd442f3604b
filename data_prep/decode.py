"""One function from (file, settings) to clip chunks or a typed failure.

Time zero is the picture's first frame (the first sound where there is no picture), or the start of
the labelled segment. The clip lasts as long as the longer of its two tracks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_prep.clip import BoolArray, ClipChunk, ClipReport, ClipSource, FloatArray, UInt8Array
from data_prep.decord_frames import DecordFrames, DecordMismatchError
from data_prep.framing import decode_jpeg, encode_jpeg, scaled_size, to_square
from data_prep.probe import MediaInfo, Timeline, probe, read_timeline
from data_prep.pyav_frames import PyavFrames
from data_prep.sampling import clamp_to_picture, step_count, wanted_times_s
from data_prep.settings import STEPS_PER_CHUNK, ClipSettings, DecodeSettings, LimitSettings
from data_prep.sound import AlignedSound, heard_steps, sound_pieces
from data_prep.status import NoUsableStreamError, RefusedError, Status, UnreadableError

# Containers whose packet index decord reads rightly (it drops the first frames of transport
# streams and has no times for AVI with B-frames).
_DECORD_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})

ClipChunks = Generator[ClipChunk, None, ClipReport]


class FrameReader(Protocol):
    """Gives the frames shown at times; the two decoders are interchangeable behind it."""

    name: str
    damage: list[str]

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]: ...


@dataclass(frozen=True)
class _Window:
    """Part of the file's clock that is the clip, and where the picture lies in it (from zero)."""

    zero_s: float
    duration_s: float
    picture_start_s: float
    picture_end_s: float
    cut: str = ""


def decode_clip(source: ClipSource, settings: DecodeSettings) -> ClipChunks:
    """Yield the chunks of a clip in order; return how it went. Raises MediaError.

    Reading stops where the data does: what could not be read is named in the report.
    """
    info = probe(source.path)
    if info.width_px and info.height_px:
        area_px = info.width_px * info.height_px
        if area_px > settings.limits.max_picture_px:
            raise RefusedError(
                f"{info.width_px}×{info.height_px} px is over "
                f"limits.max_picture_px={settings.limits.max_picture_px}"
            )
    timeline = read_timeline(source.path, info.has_video, info.has_audio)
    window = _window(source, info, timeline, settings.limits)
    n_steps = step_count(window.duration_s, settings.clip.frame_rate_hz)
    frames = _frame_reader(source.path, info, timeline, settings)
    sound_damage: list[str] = []
    sound = _sound(source.path, info, window, settings, sound_damage)
    saw_picture = heard_sound = False
    for first in range(0, n_steps, STEPS_PER_CHUNK):
        count = min(STEPS_PER_CHUNK, n_steps - first)
        try:
            pictures = _read_pictures(frames, first, count, window, settings)
        except DecordMismatchError:
            frames = _pyav_frames(source.path, info, settings)
            pictures = _read_pictures(frames, first, count, window, settings)
        chunk = _chunk(first, count, pictures, sound, window, settings)
        saw_picture |= bool(chunk.has_picture.any())
        heard_sound |= bool(chunk.has_sound.any())
        yield chunk
    damage = _damage(timeline, frames, sound_damage)
    wanted_any = (settings.want_picture and info.has_video) or (
        settings.want_sound and info.has_audio
    )
    if wanted_any and not saw_picture and not heard_sound:
        raise UnreadableError(damage or "neither picture nor sound could be decoded")
    reason = "; ".join(text for text in (damage, window.cut) if text)
    return ClipReport(
        status=Status.PARTIAL if reason else Status.OK,
        reason=reason,
        duration_s=window.duration_s,
        n_steps=n_steps,
        has_video=saw_picture if settings.want_picture else info.has_video,
        has_audio=heard_sound if settings.want_sound else info.has_audio,
        frame_decoder=frames.name if frames else "",
    )


def _window(
    source: ClipSource, info: MediaInfo, timeline: Timeline, limits: LimitSettings
) -> _Window:
    ends = [timeline.picture_end_s] if info.has_video and timeline.frame_times_s.size else []
    if timeline.sound_end_s is not None:
        ends.append(timeline.sound_end_s)
    total_s = max(ends, default=info.zero_s) - info.zero_s
    if total_s <= 0:
        raise NoUsableStreamError("its tracks hold no playable time")
    start_s = source.start_s or 0.0
    if start_s >= total_s:
        raise UnreadableError(
            f"the segment starts at {start_s:g} s, the file ends at {total_s:g} s"
        )
    end_s = min(total_s, source.end_s if source.end_s is not None else total_s)
    cut = ""
    if source.end_s is not None and source.end_s > total_s + 1.0:
        cut = f"the segment ends at {source.end_s:g} s, the file at {total_s:.1f} s"
    if end_s - start_s > limits.max_duration_s:
        cut = (
            f"read {limits.max_duration_s:g} of {end_s - start_s:.0f} s "
            f"(limits.max_duration_s={limits.max_duration_s:g})"
        )
        end_s = start_s + limits.max_duration_s
    zero_s = info.zero_s + start_s
    return _Window(
        zero_s, end_s - start_s, info.zero_s - zero_s, timeline.picture_end_s - zero_s, cut
    )


def _frame_reader(
    path: str, info: MediaInfo, timeline: Timeline, settings: DecodeSettings
) -> FrameReader | None:
    """decord where its index can be trusted, PyAV elsewhere."""
    if not (info.has_video and settings.want_picture and timeline.frame_times_s.size):
        return None
    times = timeline.frame_times_s
    starts_at_first_frame = abs(float(times[0]) - info.zero_s) < 1e-3
    if (
        info.container in _DECORD_CONTAINERS
        and starts_at_first_frame
        and not timeline.has_hidden_frames
        and not timeline.damage
    ):
        try:
            return DecordFrames(path, _target_px(info, settings.clip), times)
        except DecordMismatchError:
            # The other decoder reads it; the report names which one did.
            return _pyav_frames(path, info, settings)
    return _pyav_frames(path, info, settings)


def _pyav_frames(path: str, info: MediaInfo, settings: DecodeSettings) -> PyavFrames:
    return PyavFrames(path, _target_px(info, settings.clip), info.rotation_deg)


def _target_px(info: MediaInfo, clip: ClipSettings) -> tuple[int, int]:
    return scaled_size(info.display_size_px, _side_px(clip), clip.frame_fit)


def _side_px(clip: ClipSettings) -> int:
    if clip.frame_size_px is None:
        raise ValueError("clip.frame_size_px must be resolved to the encoder's size first")
    return clip.frame_size_px


def _read_pictures(
    frames: FrameReader | None, first: int, count: int, window: _Window, settings: DecodeSettings
) -> tuple[UInt8Array, FloatArray]:
    """(uint8 [T, C, H, W], float64 [T] times from zero, NaN without picture)."""
    side_px = _side_px(settings.clip)
    squares = np.zeros((count, 3, side_px, side_px), np.uint8)
    times_s = np.full(count, np.nan)
    if frames is None:
        return squares, times_s
    wanted_s = clamp_to_picture(
        wanted_times_s(first, count, settings.clip.frame_rate_hz),
        settings.clip.step_s,
        window.picture_start_s,
        window.picture_end_s,
    )
    for position, time_s, picture in frames.read(wanted_s + window.zero_s):
        squares[position] = to_square(picture, side_px)
        times_s[position] = time_s - window.zero_s
    return squares, times_s


def _sound(
    path: str, info: MediaInfo, window: _Window, settings: DecodeSettings, damage: list[str]
) -> AlignedSound | None:
    if not (info.has_audio and settings.want_sound):
        return None
    rate_hz = settings.clip.audio_rate_hz
    from_s = window.zero_s - info.zero_s
    return AlignedSound(sound_pieces(path, rate_hz, window.zero_s, from_s, damage))


def _chunk(
    first: int,
    count: int,
    pictures: tuple[UInt8Array, FloatArray],
    sound: AlignedSound | None,
    window: _Window,
    settings: DecodeSettings,
) -> ClipChunk:
    step = settings.clip.samples_per_step
    clip_samples = round(window.duration_s * settings.clip.audio_rate_hz)
    wave = np.zeros(count * step, np.int16)
    has_sound: BoolArray = np.zeros(count, np.bool_)
    if sound is not None:
        wave, heard = sound.window(first * step, count * step)
        inside = max(0, clip_samples - first * step)
        wave[inside:], heard[inside:] = 0, False  # a segment ends before its file does
        has_sound = heard_steps(heard, step, inside, settings.clip.audio_rate_hz)
    frames, times_s = pictures
    has_picture = ~np.isnan(times_s)
    jpegs: tuple[bytes, ...] = ()
    if settings.want_jpegs or settings.frames_from_jpegs:
        jpegs = tuple(
            encode_jpeg(frame) if seen else b""
            for frame, seen in zip(frames, has_picture, strict=True)
        )
    if settings.frames_from_jpegs:
        frames = frames.copy()
        for t in np.flatnonzero(has_picture):
            frames[t] = decode_jpeg(jpegs[t])
    return ClipChunk(first // STEPS_PER_CHUNK, frames, times_s, wave, has_picture, has_sound, jpegs)


def _damage(timeline: Timeline, frames: FrameReader | None, sound_damage: list[str]) -> str:
    parts = []
    if timeline.damage:
        parts.append(f"the file is damaged: {timeline.damage}")
    if frames is not None and frames.damage:
        parts.append(f"{len(frames.damage)} pictures could not be decoded: {frames.damage[0]}")
    if sound_damage:
        parts.append(f"{len(sound_damage)} pieces of sound could not be decoded: {sound_damage[0]}")
    return "; ".join(parts)
