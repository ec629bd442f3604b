"""Sound as a stream of mono samples, and its alignment to the picture's time zero.

A track that starts late, ends early or has gaps becomes silence and mask in the right place.
Samples stay floating point from the decoder on: nothing is clipped, nothing quiet is lost.
"""

from __future__ import annotations

import itertools
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
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    ChannelReader,
    audio_stream,
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

_WORTH_SEEKING_S, _SEEK_BEFORE_S = 20.0, 2.0
_BEFORE_S = 0.5  # lets the resampler swing in
_GAP_S = 0.05  # matroska rounds to 1 ms and phones jitter by a few; a lost AAC frame is 21 ms
_LISTENED_S = 10.0  # before it is decided whether channels cancel each other
_LISTENED_SAMPLES = 8_000_000  # of all channels: 32 MB
_WORTH_A_WORD_S = 0.001
_WORTH_CHOOSING, _WORTH_CHOOSING_S = 0.1, 0.5  # of a clip in which channels cancel each other


@dataclass
class AudioReader:
    """Decodes one file's sound to mono at the clip's rate, from `zero_s` on the file's clock.

    into_s: how far zero_s lies in the file; where that is much, what comes before is not read.
    until_s: the end of the clip on the file's clock. Undecodable packets are counted in `losses`.
    """

    path: str
    clip: ClipSettings
    zero_s: float
    into_s: float
    until_s: float
    errors: DecodeErrors
    ignored_spans: list[tuple[int, int]] = field(default_factory=list)
    """Positions first … last + 1 that hold no numbers; known before their samples are given."""

    def __post_init__(self) -> None:
        self._rate_hz = self.clip.file_audio_rate_hz
        self._levels = ChannelLevels()
        self._gain = 10.0 ** (self.clip.audio_gain_db / 20)
        self._chosen: int | None = None  # index of a channel that stands for all
        self._cancelling = False
        self._unheard_s = self._mixed_s = self._cancelled_s = 0.0
        self._run: _FormatRun | None = None

    def pieces(self) -> Iterator[tuple[int, Samples]]:
        """(position, float32 [S]); position counts samples from zero_s.

        A jump of the timestamps by more than 50 ms starts anew at its place, so gaps stay gaps.
        """
        expected_s = float("-inf")
        for frame in self._measured(self._from_the_clip_on()):
            time_s = frame_time_s(frame)
            if time_s is None:
                time_s = expected_s if np.isfinite(expected_s) else self.zero_s
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._run is None or abs(time_s - expected_s) > _GAP_S or shape != self._run.shape:
                yield from self._end_run()
                position = round((time_s - self.zero_s) * self._rate_hz)
                self._run = _FormatRun(shape, position, self._weights(frame), ChannelReader(frame))
                expected_s = time_s
            expected_s += frame.samples / frame.sample_rate
            try:
                yield from self._flow(frame)
            except DECODE_ERRORS as error:  # damage left a frame of a kind that cannot be
                self.errors.record_error(reason(error))
                with suppress(*DECODE_ERRORS):  # what was taken before is whole
                    yield from self._end_run()
                self._run = None
        yield from self._end_run()

    def _from_the_clip_on(self) -> Iterator[Any]:
        """Frames from shortly before the clip on: what comes earlier is no business of its own."""
        for frame in _frames(self.path, self.zero_s, self.into_s, self.errors):
            time_s = frame_time_s(frame)
            length_s = frame.samples / frame.sample_rate
            if time_s is None or time_s + length_s > self.zero_s - _BEFORE_S:
                yield frame

    def remarks(self) -> list[str]:
        """What is to be said of the sound that was read, in words."""
        found = []
        if self._cancelling and self._chosen is not None:
            found.append(
                "its channels cancel each other in the mix (opposite phase), so channel "
                f"{self._chosen + 1} alone is used"
            )
        elif self._chosen is None and self._levels.cancel(self._mean_weights()):
            found.append(
                "its channels cancel each other in the mix (opposite phase); choose one with "
                "clip.audio_channel"
            )
        elif self._chosen is None and self._cancelled_s > max(
            _WORTH_CHOOSING_S, _WORTH_CHOOSING * self._mixed_s
        ):
            found.append(
                f"its channels cancel each other in the mix for {self._cancelled_s:.1f} s "
                "(opposite phase); choose one with clip.audio_channel"
            )
        return [*found, self.non_finite_reason] if self.non_finite_reason else found

    @property
    def non_finite_reason(self) -> str:
        """That some samples are none, or ""."""
        if self._unheard_s < _WORTH_A_WORD_S:
            return ""
        return (
            f"{self._unheard_s:.3f} s of its sound are no numbers (NaN or infinity) and are left "
            "out"
        )

    def _mean_weights(self) -> FloatArray:
        return mix_weights(None, max(1, self._levels.of_channels.size))

    def _weights(self, frame: Any) -> FloatArray:
        names = speakers(frame)
        n_channels = len(frame.layout.channels)
        if self._chosen is not None and self._chosen < n_channels:
            return only_channel(self._chosen, n_channels)
        return mix_weights(names, n_channels)

    def _measured(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The same frames, once it is decided which channels are heard."""
        wish = self.clip.audio_channel
        if isinstance(wish, int):
            self._chosen = wish - 1
        elif wish == "loudest":
            self._chosen = self._loudest()
        else:
            first = next(frames, None)
            if first is None:
                return
            held = [first]
            if len(first.layout.channels) > 1:
                held += _some_seconds(frames, first)
                self._decide(held)
            frames = itertools.chain(held, frames)
        yield from frames

    def _decide(self, frames: list[Any]) -> None:
        """Use the louder channel alone where the channels cancel each other in their mix."""
        levels, weights = ChannelLevels(), mix_weights(speakers(frames[0]), _width(frames[0]))
        times = [(frame, frame.pts) for frame in frames]
        for channels in _channels(filter(self._is_inside, frames)):
            if len(channels) == weights.size:
                levels.add(finite_only(channels), weights)
        for frame, pts in times:
            frame.pts = pts  # they are read once more
        if levels.cancel(weights):
            self._cancelling, self._chosen = True, levels.loudest

    def _loudest(self) -> int:
        """The clip's loudest channel, for which its sound is decoded once more."""
        levels = ChannelLevels()
        for channels in _channels(self._inside()):
            levels.add(finite_only(channels), mix_weights(None, len(channels)))
        return levels.loudest

    def _inside(self) -> Iterator[Any]:
        """The frames of the clip alone."""
        for frame in _frames(self.path, self.zero_s, self.into_s, DecodeErrors()):
            time_s = frame_time_s(frame)
            if time_s is not None and time_s >= self.until_s:
                return
            if self._is_inside(frame):
                yield frame

    def _is_inside(self, frame: Any) -> bool:
        time_s = frame_time_s(frame)
        if time_s is None:
            return True
        return bool(
            time_s < self.until_s and time_s + frame.samples / frame.sample_rate > self.zero_s
        )

    def _flow(self, frame: Any) -> Iterator[tuple[int, Samples]]:
        """Mix and resample what a frame brings, or the rest for None."""
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
            self._leave_out(
                run, run.n_taken, missing, np.logical_not(finite_mask(channels).all(axis=0))
            )
        run.n_taken += channels.shape[1]
        if self._gain != 1.0:
            mono = mono * np.float32(self._gain)
        yield from run.placed(run.resampled(mono, self._rate_hz))

    def _end_run(self) -> Iterator[tuple[int, Samples]]:
        run = self._run
        if run is not None:
            yield from self._flow(None)
            yield from run.placed(resampled(run.resampler, None))

    def _leave_out(
        self, run: _FormatRun, first: int, missing: BoolArray, partly: BoolArray
    ) -> None:
        """missing: no channel has a number there; partly: some channel has none. Both [S]."""
        ratio = self._rate_hz / run.rate_hz
        times_s = (run.begins / self._rate_hz) + (first + np.arange(partly.size)) / run.rate_hz
        inside = (times_s >= 0) & (times_s < self.until_s - self.zero_s)
        self._unheard_s += float((partly & inside).sum()) / run.rate_hz
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.view(np.int8), [0]])))
        for begin, end in (edges.reshape(-1, 2) + first).tolist():
            self.ignored_spans.append(
                (run.begins + int(begin * ratio), run.begins + int(np.ceil(end * ratio)))
            )


class _FormatRun:
    """Sound of one kind without a gap, on its way from frames to mono samples."""

    def __init__(
        self,
        shape: tuple[str, str, int],
        position: int,
        weights: FloatArray,
        channels: ChannelReader,
    ) -> None:
        self.shape, self.rate_hz = shape, shape[2]
        self.weights, self.channels = weights, channels
        self.begins = self._position = position
        self.resampler: Any = None
        self.n_taken = 0

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
    """float32 [C, S] of frames that may change their kind; what cannot be converted is left out,
    and counted when it is read to be heard."""
    shape, reader = None, None
    for frame in frames:
        with suppress(*DECODE_ERRORS):
            new_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if reader is None or new_shape != shape:
                if reader is not None:
                    yield reader.read(None)
                shape, reader = new_shape, ChannelReader(frame)
            yield reader.read(frame)
    if reader is not None:
        with suppress(*DECODE_ERRORS):
            yield reader.read(None)


def _some_seconds(frames: Iterator[Any], first: Any) -> list[Any]:
    """The next frames, until what is held is enough to judge by."""
    width, held = _width(first), []
    most = min(_LISTENED_S * first.sample_rate, _LISTENED_SAMPLES / width)
    n_samples = first.samples
    while n_samples < most:
        frame = next(frames, None)
        if frame is None:
            break
        held.append(frame)
        n_samples += frame.samples
    return held


def _width(frame: Any) -> int:
    return len(frame.layout.channels)


def _frames(path: str, zero_s: float, into_s: float, losses: DecodeErrors) -> Iterator[Any]:
    """Decoded frames, from shortly before zero_s on where that is far into the file."""
    if into_s > _WORTH_SEEKING_S:
        with open_media(path) as container:
            stream = audio_stream(container)
            if stream is not None and seek(container, stream, zero_s - _SEEK_BEFORE_S):
                frames = decoded(container, stream, losses)
                first = next(frames, None)
                if first is not None and (frame_time_s(first) or zero_s) < zero_s:
                    yield first
                    yield from frames
                    return
    with open_media(path) as container:  # also where seeking led to no place before it
        stream = audio_stream(container)
        if stream is not None:
            yield from decoded(container, stream, losses)


class AlignedAudio:
    """Cuts a stream of positioned pieces into consecutive windows, with what was really heard."""

    def __init__(
        self, pieces: Iterator[tuple[int, Samples]], unheard: list[tuple[int, int]] | None = None
    ) -> None:
        """unheard: positions first … last + 1 of samples that say nothing, known when they come."""
        self._pieces = pieces
        self._unheard = unheard if unheard is not None else []
        self._held: list[tuple[int, Samples]] = []
        self._written_to: int | None = None

    def window(self, start: int, n_samples: int) -> tuple[Samples, BoolArray]:
        """(float32 [S], bool [S] heard) for positions start … start + n_samples − 1.

        Windows must be asked for in order and without overlap. Where timestamps go back, what was
        heard first stays.
        """
        end = start + n_samples
        wave = np.zeros(n_samples, np.float32)
        heard = np.zeros(n_samples, np.bool_)
        waiting, self._held = self._held, []
        for position, piece in waiting:
            self._place(position, piece, start, end, wave, heard)
        while self._written_to is None or self._written_to < end:
            following = next(self._pieces, None)
            if following is None:
                break
            self._place(*self._without_overlap(*following), start, end, wave, heard)
        for first, last in self._unheard:
            heard[max(0, first - start) : max(0, last - start)] = False
        self._unheard[:] = [span for span in self._unheard if span[1] > end]
        return wave, heard

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
        heard: BoolArray,
    ) -> None:
        first, last = max(position, start), min(position + piece.size, end)
        if first < last:
            wave[first - start : last - start] = piece[first - position : last - position]
            heard[first - start : last - start] = True
        if position + piece.size > end:
            keep_from = max(position, end)
            self._held.append((keep_from, piece[keep_from - position :]))


def audio_mask_of(
    heard: BoolArray, step_samples: int, clip_samples: int, rate_hz: int
) -> BoolArray:
    """[T] whether a step has sound: 0.1 s of it was heard, or half of its part inside the clip.

    heard: bool [S], S = T · step_samples; clip_samples: samples of these S inside the clip (the
    last step may reach past its end).
    """
    per_step = heard.reshape(-1, step_samples).sum(axis=1)
    starts = np.arange(per_step.size) * step_samples
    inside = np.clip(clip_samples - starts, 1, step_samples)
    needed = np.minimum(inside / 2, rate_hz / 10)
    return np.asarray((per_step > 0) & (per_step >= needed))
