"""Surveys a file for scan: what it holds, its length, what is missing, what deserves a remark."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.audio.channel_mix import finite_only
from data_prep.decode_errors import DecodeErrors
from data_prep.media.packet_times import PacketTimes
from data_prep.media.probe import MediaInfo, examine
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    ChannelReader,
    audio_stream,
    decoded,
    open_media,
)
from data_prep.settings import (
    RAW_FRAME_RATE_HZ,
    LimitSettings,
)
from data_prep.video.webp_reader import examine_webp, is_animated_webp

_MOSTLY_ABOVE = 0.5
LESS_THAN_DECLARED = "it holds less than its header declares"
_SURVEYED_S = 5.0
_WINDOW = 4096
_RUMBLE_HZ = 50.0  # lower frequencies are wind and handling noise, not the subject


def energy_above(path: str, nyquist_hz: float) -> float:
    """Share of the energy above nyquist_hz in the first 5 s of audio, over all channels; 0 to 1."""
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return 0.0
        reader, blocks, read_s, rate_hz = None, [], 0.0, 0
        for frame in decoded(container, stream, DecodeErrors()):
            if reader is not None and frame.sample_rate != rate_hz:
                break  # one spectrum has one sample rate
            rate_hz, read_s = frame.sample_rate, read_s + frame.samples / frame.sample_rate
            with suppress(*DECODE_ERRORS):  # counted when the clip is decoded
                reader = reader or ChannelReader(frame)
                blocks.append(reader.read(frame))
            if read_s >= _SURVEYED_S:
                break
        if reader is not None:
            with suppress(*DECODE_ERRORS):
                blocks.append(reader.read(None))
    widest = max((block.shape[0] for block in blocks), default=0)
    # the channel count may change within a file
    used = [block for block in blocks if block.shape[0] == widest]
    total, above = 0.0, 0.0
    if used:
        total, above = _energies(np.concatenate(used, axis=1), rate_hz, nyquist_hz)
    return above / total if total > 0 else 0.0


def _energies(channels: np.ndarray, rate_hz: int, nyquist_hz: float) -> tuple[float, float]:
    """(energy above 50 Hz, energy above nyquist_hz) of float32 [C, S], in whole windows."""
    window = min(_WINDOW, channels.shape[1])
    if not window:
        return 0.0, 0.0
    n = channels.shape[1] // window
    windows = finite_only(channels[:, : n * window]).reshape(-1, window) * np.hanning(window)
    power = np.square(np.abs(np.fft.rfft(windows.astype(np.float64), axis=1))).sum(axis=0)
    hz = np.fft.rfftfreq(window, 1 / rate_hz)
    return float(power[hz > _RUMBLE_HZ].sum()), float(power[hz > nyquist_hz].sum())


def examine_cached(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ
) -> tuple[MediaInfo, PacketTimes]:
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
) -> tuple[MediaInfo, PacketTimes]:
    return _examine(path, limits, raw_frame_rate_hz)


def _examine(
    path: str, limits: LimitSettings, raw_frame_rate_hz: float
) -> tuple[MediaInfo, PacketTimes]:
    if is_animated_webp(path):  # FFmpeg has no decoder for it
        return examine_webp(path, limits)
    return examine(path, limits, raw_frame_rate_hz)


def survey_file(
    path: str,
    limits: LimitSettings,
    raw_frame_rate_hz: float = RAW_FRAME_RATE_HZ,
    nyquist_hz: float | None = None,
) -> MediaInfo:
    """Properties of a file, its duration by its packets and what is missing. Raises MediaError.

    Demuxes the whole file and decodes a single frame. nyquist_hz: the highest frequency that clips
    keep; if most of the audio energy is above it, a remark says so and energy_above is set.
    """
    info, packet_times = examine_cached(path, limits, raw_frame_rate_hz)
    missing = expected_shortfall(packet_times)
    missing = "; ".join(filter(None, (undecodable_track(info, True, True), missing)))
    remarks = [*packet_times.remarks, *unused_audio_tracks(info)]
    # the extra decoding is needed only if the file's Nyquist frequency is above nyquist_hz
    if info.has_audio and nyquist_hz is not None and (info.audio_rate_hz or 0) / 2 > nyquist_hz:
        share = energy_above(path, nyquist_hz)
        if share > _MOSTLY_ABOVE:
            info = replace(info, energy_above=share)
            remarks.append(
                f"{100 * share:.0f} % of the energy of its sound lies above "
                f"{nyquist_hz / 1000:g} kHz, which clips do not keep (clip.audio_rate_hz)"
            )
    return replace(
        info, duration_s=packet_times.end_s - info.zero_s, problem=missing, remarks=tuple(remarks)
    )


def unused_audio_tracks(info: MediaInfo) -> list[str]:
    """Remark on unused mono tracks."""
    if info.audio_channels != 1 or info.n_audio_tracks < 2:
        return []  # several stereo tracks are usually languages, several mono ones microphones
    return [f"it has {info.n_audio_tracks} sound tracks, of which only the first is used"]


def undecodable_track(info: MediaInfo, want_picture: bool, want_sound: bool) -> str:
    """Message about a track that cannot be decoded at all, or ""."""
    if info.video_error and want_picture:
        return f"only its sound: the picture cannot be decoded ({info.video_error})"
    if info.audio_error and want_sound:
        return f"only its picture: the sound cannot be decoded ({info.audio_error})"
    return ""


def expected_shortfall(packet_times: PacketTimes) -> str:
    """Message about what is missing according to headers and packets alone, or ""."""
    parts, reasons = [], []
    for name, track in (("picture", packet_times.video), ("sound", packet_times.audio)):
        if track is None or track.is_empty:
            continue
        length_s = track.end_s - track.start_s
        if track.missing_s:
            parts.append(f"{read_of_total(length_s, length_s + track.missing_s)} of {name}")
            reasons += [f"{track.broken} ({name})"] if track.broken else []
        elif track.cut_off:
            parts.append(f"{length_s:.1f} s of {name}, of an unknown length")
            reasons.append(track.cut_off)
    if not parts:
        return ""
    reasons += [f"the file is damaged: {packet_times.problem}"] if packet_times.problem else []
    return f"there are {', '.join(parts)}: {'; '.join(reasons) or LESS_THAN_DECLARED}"


def read_of_total(read_s: float, total_s: float) -> str:
    digits = 2 if total_s < 10 else 1
    return f"{max(0.0, read_s):.{digits}f} of {total_s:.{digits}f} s"
