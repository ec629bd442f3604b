"""Decode audio to a stream of mono samples, aligned to the time zero of the video.

Where a track starts late, ends early or has gaps, the samples are zero and masked out. Samples are
floating point from the decoder on, so nothing is clipped and nothing quiet is lost.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.audio.channel_mix import (
    ChannelLevels,
    finite_mask,
    finite_only,
    mix_channels,
    mix_weights,
    only_channel,
)
from data_prep.clip import BoolArray, FloatArray, Samples
from data_prep.decode_errors import DecodeErrors
from data_prep.media.demuxer import Demuxer
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    ChannelReader,
    audio_stream,
    decode_packets,
    decoded,
    frame_time_s,
    mono_frame,
    mono_resampler,
    open_media,
    reason,
    resampled,
    seek,
    speakers,
)
from data_prep.settings import ClipSettings

_MIN_SEEK_S, _SEEK_BEFORE_S = 20.0, 2.0  # decoding less than 20 s is not worth a seek
_PREROLL_S = 0.5  # for the resampler's filter to settle before the clip start
_FILTER_REACH = 17  # samples of the lower rate: half of the default filter of 32 taps, rounded up
_GAP_S = 0.05  # Matroska rounds to 1 ms, phones jitter by a few; a lost AAC frame is 21 ms
_PROBED_S = 10.0  # decoded to decide whether the channels cancel each other
_PROBED_SAMPLES = 8_000_000  # over all channels: 32 MB
_MIN_REPORTED_S = 0.001
_MIN_CANCELLED_SHARE, _MIN_CANCELLED_S = 0.1, 0.5  # of the clip, to be reported


@dataclass
class AudioReader:
    """Decodes one file's audio to mono at the clip's rate, from `zero_s` on the file's clock.

    into_s: distance of zero_s from the start of the file; above 20 s the reader seeks.
    until_s: end of the clip on the file's clock. Undecodable packets are counted in `errors`.
    """

    path: str
    clip: ClipSettings
    zero_s: float
    into_s: float
    until_s: float
    errors: DecodeErrors
    demuxer: Demuxer | None = None
    """Shared with the reader of the frames; by default the file is opened again."""
    ignored_spans: list[tuple[int, int]] = field(default_factory=list)
    """Output ranges [first, last) without finite samples; known before the samples are yielded."""

    def __post_init__(self) -> None:
        self._rate_hz = self.clip.file_audio_rate_hz
        self._levels = ChannelLevels()
        self._gain = 10.0 ** (self.clip.audio_gain_db / 20)
        self._channel: int | None = None  # index of the one channel to use, None for the mix
        self._is_cancelling = False
        self._non_finite_s = self._mixed_s = self._cancelled_s = 0.0
        self._run: _FormatRun | None = None
        self._demuxer = self.demuxer or Demuxer(self.path)
        self._seeks = self.into_s > _MIN_SEEK_S
        if not self._seeks:
            self._demuxer.expect("audio")

    def pieces(self) -> Iterator[tuple[int, Samples]]:
        """Yield (position, float32 [S]); position counts output samples from zero_s.

        Timestamps that jump by more than 50 ms start a new run at the new position.
        """
        expected_s = float("-inf")
        for frame in self._with_channel_choice(self._frames_from_clip_start()):
            time_s = frame_time_s(frame)
            if time_s is None:
                # a frame without a timestamp follows the previous one directly
                time_s = expected_s if np.isfinite(expected_s) else self.zero_s
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._run is None or abs(time_s - expected_s) > _GAP_S or shape != self._run.shape:
                yield from self._end_run()
                position = round((time_s - self.zero_s) * self._rate_hz)
                if self.clip.causal:
                    position += resampler_reach(frame.sample_rate, self._rate_hz)
                self._run = _FormatRun(shape, position, self._weights(frame), ChannelReader(frame))
                expected_s = time_s
            expected_s += frame.samples / frame.sample_rate
            try:
                yield from self._process(frame)
            except DECODE_ERRORS as error:  # damage can leave a frame of an impossible format
                self.errors.record_error(reason(error))
                with suppress(*DECODE_ERRORS):  # samples taken in earlier are intact
                    yield from self._end_run()
                self._run = None
        yield from self._end_run()

    def _frames_from_clip_start(self) -> Iterator[Any]:
        """Frames from 0.5 s before the clip on; earlier ones must not add errors or remarks."""
        for frame in self._frames(self._demuxer, self.errors):
            time_s = frame_time_s(frame)
            duration_s = frame.samples / frame.sample_rate
            if time_s is None or time_s + duration_s > self.zero_s - _PREROLL_S:
                yield frame

    def _frames(self, demuxer: Demuxer, losses: DecodeErrors) -> Iterator[Any]:
        """Decoded frames, from 2 s before zero_s on if that is more than 20 s into the file."""
        if self._seeks:
            with open_media(self.path) as container:
                stream = audio_stream(container)
                if stream is not None and seek(container, stream, self.zero_s - _SEEK_BEFORE_S):
                    frames = decoded(container, stream, losses)
                    first = next(frames, None)
                    if first is not None and (frame_time_s(first) or self.zero_s) < self.zero_s:
                        yield first
                        yield from frames
                        return
        problems: list[str] = []
        # also the fallback where seeking landed too late
        with demuxer.track("audio", problems) as (stream, source):
            if stream is not None:
                yield from decode_packets(source, problems, stream, losses)

    def remarks(self) -> list[str]:
        """Notes for the user on the audio that was read."""
        found = []
        if self._is_cancelling and self._channel is not None:
            found.append(
                "its channels cancel each other in the mix (opposite phase), so channel "
                f"{self._channel + 1} alone is used"
            )
        elif self._channel is None and self._levels.cancel(self._mean_weights()):
            found.append(
                "its channels cancel each other in the mix (opposite phase); choose one with "
                "clip.audio_channel"
            )
        elif self._channel is None and self._cancelled_s > max(
            _MIN_CANCELLED_S, _MIN_CANCELLED_SHARE * self._mixed_s
        ):
            found.append(
                f"its channels cancel each other in the mix for {self._cancelled_s:.1f} s "
                "(opposite phase); choose one with clip.audio_channel"
            )
        return [*found, self.non_finite_reason] if self.non_finite_reason else found

    @property
    def non_finite_reason(self) -> str:
        """Message that some samples are NaN or infinite, or ""."""
        if self._non_finite_s < _MIN_REPORTED_S:
            return ""
        return (
            f"{self._non_finite_s:.3f} s of its sound are not finite (NaN or infinity) "
            "and are left out"
        )

    def _mean_weights(self) -> FloatArray:
        return mix_weights(None, max(1, self._levels.of_channels.size))

    def _weights(self, frame: Any) -> FloatArray:
        names = speakers(frame)
        n_channels = len(frame.layout.channels)
        if self._channel is not None and self._channel < n_channels:
            return only_channel(self._channel, n_channels)
        return mix_weights(names, n_channels)

    def _with_channel_choice(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The same frames, after setting `_channel`: the channel to use, or None for the mix."""
        channel = self.clip.audio_channel
        if isinstance(channel, int):
            self._channel = channel - 1  # users count from 1
        elif channel == "loudest":
            self._channel = self._loudest()
        else:
            first = next(frames, None)
            if first is None:
                return
            held = [first]
            # it looks 10 s ahead
            if len(first.layout.channels) > 1 and not self.clip.causal:
                held += _probe_frames(frames, first)
                self._detect_cancellation(held)
            frames = itertools.chain(held, frames)
        yield from frames

    def _detect_cancellation(self, frames: list[Any]) -> None:
        """Use only the loudest channel if the channels cancel each other in the mix."""
        levels, weights = ChannelLevels(), mix_weights(speakers(frames[0]), _n_channels(frames[0]))
        times = [(frame, frame.pts) for frame in frames]  # ChannelReader clears the timestamps
        for channels in _channels(filter(self._is_inside, frames)):
            if len(channels) == weights.size:
                levels.add(finite_only(channels), weights)
        for frame, pts in times:
            frame.pts = pts  # the same frames are read again for output
        if levels.cancel(weights):
            self._is_cancelling, self._channel = True, levels.loudest

    def _loudest(self) -> int:
        """Index of the clip's loudest channel; decodes the clip an additional time."""
        levels = ChannelLevels()
        for channels in _channels(self._frames_inside()):
            levels.add(finite_only(channels), mix_weights(None, len(channels)))
        return levels.loudest

    def _frames_inside(self) -> Iterator[Any]:
        """Only the frames that overlap the clip."""
        # errors are counted when the clip is decoded for output
        for frame in self._frames(Demuxer(self.path), DecodeErrors()):
            time_s = frame_time_s(frame)
            if time_s is not None and time_s >= self.until_s:
                return  # audio frames are in order of time: none of the clip can follow
            if self._is_inside(frame):
                yield frame

    def _is_inside(self, frame: Any) -> bool:
        time_s = frame_time_s(frame)
        if time_s is None:
            return True
        return bool(
            time_s < self.until_s and time_s + frame.samples / frame.sample_rate > self.zero_s
        )

    def _process(self, frame: Any) -> Iterator[tuple[int, Samples]]:
        """Mix and resample the samples of a frame; None flushes the channel reader."""
        run = self._run
        assert run is not None
        channels = run.channels.read(frame)
        if not channels.shape[1]:
            return
        mono, missing = mix_channels(channels, run.weights)
        if channels.shape[0] > 1:
            finite = channels if missing is None else finite_only(channels)
            before = self._levels.cancelled_samples
            self._levels.add(finite, mix_weights(None, channels.shape[0]))
            cancelled = self._levels.cancelled_samples - before
            rate_hz = run.rate_hz
            self._mixed_s += channels.shape[1] / rate_hz
            self._cancelled_s += cancelled / rate_hz
        if missing is not None:
            self._record_non_finite(
                run, run.n_read, missing, np.logical_not(finite_mask(channels).all(axis=0))
            )
        run.n_read += channels.shape[1]
        if self._gain != 1.0:
            mono = mono * np.float32(self._gain)
        yield from run.placed(run.resampled(mono, self._rate_hz))

    def _end_run(self) -> Iterator[tuple[int, Samples]]:
        run = self._run
        if run is not None:
            yield from self._process(None)
            yield from run.placed(resampled(run.resampler, None))

    def _record_non_finite(
        self, run: _FormatRun, first: int, missing: BoolArray, partly: BoolArray
    ) -> None:
        """Count non-finite samples, and mask those without any finite channel.

        missing: no channel is finite; partly: some channel is not. Both bool [S].
        """
        ratio = self._rate_hz / run.rate_hz
        times_s = (run.start / self._rate_hz) + (first + np.arange(partly.size)) / run.rate_hz
        inside = (times_s >= 0) & (times_s < self.until_s - self.zero_s)
        self._non_finite_s += float((partly & inside).sum()) / run.rate_hz
        # [first, last) of each run of True: where the zero-padded mask changes
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.view(np.int8), [0]])))
        for begin, end in (edges.reshape(-1, 2) + first).tolist():
            self.ignored_spans.append(
                (run.start + int(begin * ratio), run.start + int(np.ceil(end * ratio)))
            )


def resampler_reach(from_hz: int, to_hz: int) -> int:
    """Number of output samples by which libswresample's filter reaches into the future."""
    if from_hz == to_hz:
        return 0
    return math.ceil(_FILTER_REACH * to_hz / min(from_hz, to_hz))


class _FormatRun:
    """Audio of one sample format and layout without a gap: its position, weights and resampler."""

    def __init__(
        self,
        shape: tuple[str, str, int],
        position: int,
        weights: FloatArray,
        channels: ChannelReader,
    ) -> None:
        self.shape, self.rate_hz = shape, shape[2]
        self.weights, self.channels = weights, channels
        self.start = self._position = position
        self.resampler: Any = None
        self.n_read = 0

    def resampled(self, mono: Samples, rate_hz: int) -> list[Samples]:
        if rate_hz == self.rate_hz:
            return [mono]
        if self.resampler is None:
            self.resampler = mono_resampler(rate_hz)
        return resampled(self.resampler, mono_frame(mono, self.rate_hz))

    def placed(self, pieces: list[Samples]) -> Iterator[tuple[int, Samples]]:
        for piece in pieces:
            yield self._position, piece
            self._position += piece.size


def _channels(frames: Iterable[Any]) -> Iterator[Samples]:
    """float32 [C, S] of frames whose format may change; those that cannot be converted are skipped.

    They are counted as errors when they are read for output.
    """
    shape, reader = None, None
    for frame in frames:
        with suppress(*DECODE_ERRORS):
            new_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if reader is None or new_shape != shape:
                if reader is not None:
                    yield reader.read(None)  # the resampler still holds up to 0.25 s
                shape, reader = new_shape, ChannelReader(frame)
            yield reader.read(frame)
    if reader is not None:
        with suppress(*DECODE_ERRORS):
            yield reader.read(None)


def _probe_frames(frames: Iterator[Any], first: Any) -> list[Any]:
    """The next frames after `first`: up to 10 s, or 8 million samples."""
    n_channels, held = _n_channels(first), []
    max_samples = min(_PROBED_S * first.sample_rate, _PROBED_SAMPLES / n_channels)
    n_samples = first.samples
    while n_samples < max_samples:
        frame = next(frames, None)
        if frame is None:
            break
        held.append(frame)
        n_samples += frame.samples
    return held


def _n_channels(frame: Any) -> int:
    return len(frame.layout.channels)


class AlignedAudio:
    """Cuts a stream of positioned pieces into consecutive windows of samples and a mask."""

    def __init__(
        self, pieces: Iterator[tuple[int, Samples]], masked: list[tuple[int, int]] | None = None
    ) -> None:
        """masked: ranges [first, last) to mask out; may grow while `pieces` is consumed."""
        self._pieces = pieces
        self._masked_spans = [] if masked is None else masked
        self._held: list[tuple[int, Samples]] = []
        self._written_to: int | None = None

    def window(self, start: int, n_samples: int) -> tuple[Samples, BoolArray]:
        """(float32 [S], bool [S] mask) for positions start … start + n_samples − 1.

        Windows must be requested in order and without overlap. Where timestamps go back, the
        samples that came first are kept.
        """
        end = start + n_samples
        wave = np.zeros(n_samples, np.float32)
        mask = np.zeros(n_samples, np.bool_)
        pending, self._held = self._held, []
        for position, piece in pending:
            self._place(position, piece, start, end, wave, mask)
        while self._written_to is None or self._written_to < end:
            following = next(self._pieces, None)
            if following is None:
                break
            self._place(*self._without_overlap(*following), start, end, wave, mask)
        # only now: spans are appended while the pieces above are decoded
        for first, last in self._masked_spans:
            mask[max(0, first - start) : max(0, last - start)] = False
        self._masked_spans[:] = [span for span in self._masked_spans if span[1] > end]
        return wave, mask

    def _without_overlap(self, position: int, piece: Samples) -> tuple[int, Samples]:
        begin = position if self._written_to is None else max(position, self._written_to)
        piece = piece[begin - position :]
        self._written_to = begin + piece.size
        return begin, piece

    def _place(
        self,
        position: int,
        piece: Samples,
        start: int,
        end: int,
        wave: Samples,
        mask: BoolArray,
    ) -> None:
        first, last = max(position, start), min(position + piece.size, end)
        if first < last:
            wave[first - start : last - start] = piece[first - position : last - position]
            mask[first - start : last - start] = True
        if position + piece.size > end:
            keep_from = max(position, end)
            self._held.append((keep_from, piece[keep_from - position :]))


def audio_mask_of(
    sample_mask: BoolArray, step_samples: int, clip_samples: int, rate_hz: int
) -> BoolArray:
    """bool [T], whether a step has audio: at least 0.1 s of it, or half of its part in the clip.

    sample_mask: bool [S], S = T · step_samples. clip_samples: number of these S samples that
    are inside the clip, as the last step may reach beyond its end.
    """
    per_step = sample_mask.reshape(-1, step_samples).sum(axis=1)
    starts = np.arange(per_step.size) * step_samples
    inside = np.clip(clip_samples - starts, 1, step_samples)  # never 0: a step needs some audio
    needed = np.minimum(inside / 2, rate_hz / 10)
    return np.asarray((per_step > 0) & (per_step >= needed))
