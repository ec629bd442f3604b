"""How much of a clip was actually read, per track, and the message that says so.

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


def _read_of_total(read_s: float, total_s: float) -> str:
    digits = 2 if total_s < 10 else 1
    return f"{max(0.0, read_s):.{digits}f} of {total_s:.{digits}f} s"


def _is_certain_loss(losses: DecodeErrors, timeline: Timeline) -> bool:
    """Whether undecodable packets were part of the recording, not junk after its end."""
    # every packet in an index belongs to the recording; elsewhere the last ones may be junk
    return bool(losses.middle or (losses.trailing and timeline.is_indexed))


def expected_shortfall(timeline: Timeline) -> str:
    """Message about what is missing according to headers and packets alone, or ""."""
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
    """Compares what the chunks of one clip hold with what its packets promise."""

    def __init__(self, window: ClipWindow, timeline: Timeline, clip: ClipSettings) -> None:
        self._window, self._timeline, self._clip = window, timeline, clip
        self._missing_video_s = self._decoded_audio_s = self._steps_end_s = 0.0
        self._last_frame_s = float("inf")
        self.decoded_video = self.decoded_audio = False

    def add(self, chunk: ClipChunk, heard_samples: int) -> None:
        """Add the next chunk. heard_samples: number of its audio samples that were decoded."""
        step_s = self._clip.step_s
        starts = (chunk.index * STEPS_PER_CHUNK + np.arange(chunk.n_steps)) * step_s
        covered = np.minimum(starts + step_s, self._window.video_end_s) - np.maximum(
            starts, self._window.video_start_s
        )
        self._missing_video_s += float(np.clip(covered, 0, None)[~chunk.video_mask].sum())
        self._steps_end_s = float(starts[-1]) + step_s
        self._decoded_audio_s += heard_samples / self._clip.file_audio_rate_hz
        self.decoded_video |= bool(chunk.video_mask.any())
        self.decoded_audio |= bool(chunk.audio_mask.any())

    def is_damaged(self, pictures: DecodeErrors | None, sounds: DecodeErrors | None) -> bool:
        """Whether the file has a known problem or decoding errors other than at its start."""
        # `leading` errors do not count: recordings cut out of a stream start with some
        return bool(self._timeline.problem) or any(
            losses is not None and losses.middle + losses.trailing for losses in (pictures, sounds)
        )

    def set_last_frame(self, last_frame_s: float | None) -> None:
        """Set the time of the last good video frame, on the file's clock; None if unknown."""
        if last_frame_s is not None and self._timeline.frame_times_s.size > 1:
            frame_s = float(np.median(np.diff(self._timeline.frame_times_s)))
            self._last_frame_s = last_frame_s + frame_s - self._window.zero_s

    def shortfall(
        self, pictures: DecodeErrors | None, sounds: DecodeErrors | None, unheard: str = ""
    ) -> str:
        """Message about what was not read, or "".

        pictures, sounds: decoding errors, None for a track that was not requested. unheard: why
        some decoded audio is masked out, or "".
        """
        is_damaged = self.is_damaged(pictures, sounds)
        by_track = [
            self._track_shortfall(name, track, losses, is_damaged)
            for name, track, losses in (
                ("picture", self._timeline.video, pictures),
                ("sound", self._timeline.audio, sounds),
            )
            if losses is not None and track is not None and not track.is_empty
        ]
        parts = [part for part, _ in by_track if part]
        if not parts:
            return ""
        reasons = [reason for _, reason in by_track if reason]
        # the audio part, if there is one, is the last
        reasons += [unheard] if unheard and "of sound" in parts[-1] else []
        if self._timeline.problem:
            reasons.append(f"the file is damaged: {self._timeline.problem}")
        return f"read {', '.join(parts)}: {'; '.join(reasons) or _LESS_THAN_DECLARED}"

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
        if not (is_damaged or self._timeline.gaps_are_losses):
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
