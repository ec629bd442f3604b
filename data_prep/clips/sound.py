"""Sound as a stream of samples, and its alignment to the picture's time zero.

A track that starts late, ends early or has gaps becomes silence and mask in the right place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from data_prep.clip import BoolArray, Int16Array
from data_prep.losses import Losses
from data_prep.media.pyav_media import (
    DECODE_ERRORS,
    audio_stream,
    decoded,
    frame_time_s,
    mono_resampler,
    open_media,
    reason,
    resampled,
    seek,
)

_WORTH_SEEKING_S, _SEEK_BEFORE_S = 20.0, 2.0
_GAP_S = 0.05  # matroska rounds to 1 ms and phones jitter by a few; a lost AAC frame is 21 ms


def sound_pieces(
    path: str, rate_hz: int, zero_s: float, into_s: float, losses: Losses
) -> Iterator[tuple[int, Int16Array]]:
    """(position, int16 [S]) of mono sound at rate_hz; position counts samples from zero_s.

    A jump of the timestamps by more than 50 ms starts anew at its place, so gaps stay gaps.
    into_s: how far zero_s lies in the file; where that is much, what comes before is not read.
    Undecodable packets are counted in `losses`.
    """
    resampler: Any = None
    position, expected_s, shape = 0, float("-inf"), None
    for frame in _frames(path, zero_s, into_s, losses):
        time_s = frame_time_s(frame)
        if time_s is None:
            time_s = expected_s if np.isfinite(expected_s) else zero_s
        new_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if abs(time_s - expected_s) > _GAP_S or new_shape != shape:
            for piece in resampled(resampler, None):
                yield position, piece
                position += piece.size
            resampler = mono_resampler(rate_hz)
            position, shape = round((time_s - zero_s) * rate_hz), new_shape
            expected_s = time_s
        expected_s += frame.samples / frame.sample_rate
        frame.pts = None  # the position is kept here; jitter must not make the resampler pad
        try:
            pieces = resampled(resampler, frame)
        except DECODE_ERRORS as error:  # damage left a frame of a kind that cannot be
            losses.lost(reason(error))
            with suppress(*DECODE_ERRORS):  # what it still holds came before
                for piece in resampled(resampler, None):
                    yield position, piece
                    position += piece.size
            resampler, shape = None, None
            continue
        for piece in pieces:
            yield position, piece
            position += piece.size
    for piece in resampled(resampler, None):
        yield position, piece
        position += piece.size


def _frames(path: str, zero_s: float, into_s: float, losses: Losses) -> Iterator[Any]:
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


class AlignedSound:
    """Cuts a stream of positioned pieces into consecutive windows, with what was really heard."""

    def __init__(self, pieces: Iterator[tuple[int, Int16Array]]) -> None:
        self._pieces = pieces
        self._held: list[tuple[int, Int16Array]] = []
        self._written_to: int | None = None

    def window(self, start: int, n_samples: int) -> tuple[Int16Array, BoolArray]:
        """(int16 [S], bool [S] heard) for positions start … start + n_samples − 1.

        Windows must be asked for in order and without overlap. Where timestamps go back, what was
        heard first stays.
        """
        end = start + n_samples
        wave = np.zeros(n_samples, np.int16)
        heard = np.zeros(n_samples, np.bool_)
        waiting, self._held = self._held, []
        for position, piece in waiting:
            self._place(position, piece, start, end, wave, heard)
        while self._written_to is None or self._written_to < end:
            following = next(self._pieces, None)
            if following is None:
                break
            self._place(*self._without_overlap(*following), start, end, wave, heard)
        return wave, heard

    def _without_overlap(self, position: int, piece: Int16Array) -> tuple[int, Int16Array]:
        begin = position if self._written_to is None else max(position, self._written_to)
        piece = piece[begin - position :]
        self._written_to = begin + piece.size
        return begin, piece

    def _place(
        self,
        position: int,
        piece: Int16Array,
        start: int,
        end: int,
        wave: Int16Array,
        heard: BoolArray,
    ) -> None:
        first, last = max(position, start), min(position + piece.size, end)
        if first < last:
            wave[first - start : last - start] = piece[first - position : last - position]
            heard[first - start : last - start] = True
        if position + piece.size > end:
            keep_from = max(position, end)
            self._held.append((keep_from, piece[keep_from - position :]))


def heard_steps(heard: BoolArray, step_samples: int, clip_samples: int, rate_hz: int) -> BoolArray:
    """[T] whether a step has sound: 0.1 s of it was heard, or half of its part inside the clip.

    heard: bool [S], S = T · step_samples; clip_samples: samples of these S inside the clip (the
    last step may reach past its end).
    """
    per_step = heard.reshape(-1, step_samples).sum(axis=1)
    starts = np.arange(per_step.size) * step_samples
    inside = np.clip(clip_samples - starts, 1, step_samples)
    needed = np.minimum(inside / 2, rate_hz / 10)
    return np.asarray((per_step > 0) & (per_step >= needed))
