"""How much of a clip was really read, track by track, and the words for it.

"read 4.2 of 10.0 s of picture, 4.3 of 10.0 s of sound: damaged picture data"
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.clip import ClipChunk
from data_prep.decode_errors import DecodeErrors
from data_prep.media.timeline import Timeline
from data_prep.media.track import Track, tolerance_s
from data_prep.settings import STEPS_PER_CHUNK, ClipSettings
from data_prep.status import Limit

_LESS_THAN_DECLARED = "it holds less than its header declares"
_ROUNDING_S = 0.25  # priming and padding of audio codecs, up to two frames of picture


@dataclass(frozen=True)
class ClipWindow:
    """Part of the file's clock that is the clip, and where the picture lies in it (from zero)."""

    zero_s: float
    duration_s: float
    video_start_s: float
    video_end_s: float
    cut: str = ""
    """Why the clip ends before the file or the asked segment does."""
    limit: Limit | None = None
    """The limit that cut it."""
    reaches_file_end: bool = True
    """Whether the clip goes on to the end of the file."""


def _read_of_total(read_s: float, total_s: float) -> str:
    digits = 2 if total_s < 10 else 1
    return f"{max(0.0, read_s):.{digits}f} of {total_s:.{digits}f} s"


def _is_certain_loss(losses: DecodeErrors, timeline: Timeline) -> bool:
    """Whether what could not be decoded was part of the recording, and not junk behind its end."""
    return bool(losses.middle or (losses.trailing and timeline.is_indexed))


def expected_shortfall(timeline: Timeline) -> str:
    """What can be said to be missing before anything is decoded, in words, or ""."""
    parts, reasons = [], []
    for name, track in (("picture", timeline.video), ("sound", timeline.audio)):
        if track is None or track.is_empty:
            continue
        length_s = track.end_s - track.start_s
        if track.missing_s:
            parts.append(f"{_read_of_total(length_s, length_s + track.missing_s)} of {name}")
            reasons += [f"{track.broken} ({name})"] if track.broken else []
        elif track.cut_off:
            parts.append(f"{length_s:.1f} s of {name}, of an unknown length")
            reasons.append(track.cut_off)
    if not parts:
        return ""
    reasons += [f"the file is damaged: {timeline.problem}"] if timeline.problem else []
    return f"there are {', '.join(parts)}: {'; '.join(reasons) or _LESS_THAN_DECLARED}"


class ReadCoverage:
    """Adds up what the chunks of one clip hold against what its packets promised."""

    def __init__(self, window: ClipWindow, timeline: Timeline, clip: ClipSettings) -> None:
        self._window, self._timeline, self._clip = window, timeline, clip
        self._missing_video_s = self._decoded_audio_s = self._stepped_s = 0.0
        self._last_frame_s = float("inf")
        self.decoded_video = self.decoded_audio = False

    def add(self, chunk: ClipChunk, heard_samples: int) -> None:
        """Take in the next chunk; heard_samples: how many of its samples were decoded."""
        step_s = self._clip.step_s
        starts = (chunk.index * STEPS_PER_CHUNK + np.arange(chunk.n_steps)) * step_s
        covered = np.minimum(starts + step_s, self._window.video_end_s) - np.maximum(
            starts, self._window.video_start_s
        )
        self._missing_video_s += float(np.clip(covered, 0, None)[~chunk.video_mask].sum())
        self._stepped_s = float(starts[-1]) + step_s
        self._decoded_audio_s += heard_samples / self._clip.file_audio_rate_hz
        self.decoded_video |= bool(chunk.video_mask.any())
        self.decoded_audio |= bool(chunk.audio_mask.any())

    def is_damaged(self, pictures: DecodeErrors | None, sounds: DecodeErrors | None) -> bool:
        """Whether something in the file is known to be amiss."""
        return bool(self._timeline.problem) or any(
            losses is not None and losses.middle + losses.trailing for losses in (pictures, sounds)
        )

    def set_last_frame(self, last_frame_s: float | None) -> None:
        """The file's time of the last good picture, where it is known."""
        if last_frame_s is not None and self._timeline.frame_times_s.size > 1:
            frame_s = float(np.median(np.diff(self._timeline.frame_times_s)))
            self._last_frame_s = last_frame_s + frame_s - self._window.zero_s

    def shortfall(
        self, pictures: DecodeErrors | None, sounds: DecodeErrors | None, unheard: str = ""
    ) -> str:
        """What was not read, in words, or "". None for a track that was not asked for.

        unheard: why some of the sound that was read is not heard, or "".
        """
        is_damaged = self.is_damaged(pictures, sounds)
        found = [
            self._track_shortfall(name, track, losses, is_damaged)
            for name, track, losses in (
                ("picture", self._timeline.video, pictures),
                ("sound", self._timeline.audio, sounds),
            )
            if losses is not None and track is not None and not track.is_empty
        ]
        parts = [part for part, _ in found if part]
        if not parts:
            return ""
        reasons = [why for _, why in found if why]
        reasons += [unheard] if unheard and "of sound" in parts[-1] else []
        if self._timeline.problem:
            reasons.append(f"the file is damaged: {self._timeline.problem}")
        return f"read {', '.join(parts)}: {'; '.join(reasons) or _LESS_THAN_DECLARED}"

    def _track_shortfall(
        self, name: str, track: Track, losses: DecodeErrors, is_damaged: bool
    ) -> tuple[str, str]:
        """("4.2 of 10.0 s of picture", why) of one track, or two times ""."""
        of_track = self._video_coverage if name == "picture" else self._audio_coverage
        read_s, total_s, allowed_s = of_track(track, is_damaged)
        if name == "picture" and (losses.total or is_damaged):  # steps are coarser than frames
            whole_s = total_s - self._gaps_s(track)
            reached_s = self._last_frame_s - max(0.0, self._window.video_start_s)
            read_s = min(read_s, losses.success_share * whole_s, reached_s)
        is_short = total_s - read_s > allowed_s
        if track.cut_off and not is_short:
            return f"{read_s:.1f} s of {name}, of an unknown length", track.cut_off
        if not (is_short or track.broken or _is_certain_loss(losses, self._timeline)):
            return "", ""
        part = f"{_read_of_total(read_s, total_s)} of {name}"
        if track.broken:
            return part, f"{track.broken} ({name})"
        if losses.total:
            count = "1 piece" if losses.total == 1 else f"{losses.total} pieces"
            return part, f"{count} of {name} damaged: {losses.reason}"
        return part, track.cut_off

    def _video_coverage(self, track: Track, is_damaged: bool) -> tuple[float, float, float]:
        """(read, total, allowed to be missing unremarked), in seconds."""
        window = self._window
        begin = max(0.0, window.video_start_s)
        span_s = max(0.0, min(window.video_end_s, window.duration_s) - begin)
        missing_s = track.missing_s if window.reaches_file_end else 0.0
        return span_s - self._missing_video_s, span_s + missing_s, _ROUNDING_S

    def _audio_coverage(self, track: Track, is_damaged: bool) -> tuple[float, float, float]:
        window = self._window
        begin = max(track.start_s, window.zero_s)
        end = min(track.end_s, window.zero_s + window.duration_s)
        span_s = max(0.0, end - begin)
        if not (is_damaged or self._timeline.gaps_are_losses):
            span_s -= self._gaps_s(track)  # silence between packets was recorded as such
        # less than half a step at the end makes no step of its own
        unasked_s = max(0.0, end - window.zero_s - self._stepped_s)
        missing_s = track.missing_s if window.reaches_file_end else 0.0
        total_s = span_s + missing_s
        return (
            min(self._decoded_audio_s + unasked_s, total_s),
            total_s,
            max(_ROUNDING_S, tolerance_s(total_s, track.is_suspect) / 2),
        )

    def _gaps_s(self, track: Track) -> float:
        """Seconds inside the clip without packets of the track."""
        begin, end = self._window.zero_s, self._window.zero_s + self._window.duration_s
        inside = (min(stop, end) - max(start, begin) for start, stop in track.gaps_s)
        return sum(max(0.0, length) for length in inside)
