"""Frames and windows of sound on their way through the encoders, in full batches."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from data_prep.clip import ClipChunk, ClipSource
from data_prep.settings import ClipSettings
from data_prep.video.frame_difference import N_FIELDS, ChangeMeter, in_a_mirror
from pipeline.features.batch_encoder import BatchEncoder, Float16Array, InputArray
from pipeline.features.encoded_clip import EncodedChunk
from pipeline.features.spectrogram_windows import CutWindow, SoundWindows, WindowCutter


@dataclass(frozen=True)
class Encoders:
    """What makes features: of frames, and of windows of sound; None where nothing is asked for."""

    frames: BatchEncoder | None = None
    sound: BatchEncoder | None = None
    windows: SoundWindows | None = None
    """Which windows; there where `sound` is."""
    mirror: bool = False
    """Encode each frame mirrored left to right too, for training."""


@dataclass(frozen=True)
class _Place:
    """Where a vector goes: these rows of an array of a chunk."""

    chunk: EncodedChunk
    into: Float16Array
    rows: list[int]


class _Batch:
    """Collects the inputs of one encoder until a batch is full."""

    def __init__(
        self, encoder: BatchEncoder, done: Callable[[list[_Place], Float16Array], None]
    ) -> None:
        self._encoder, self._done = encoder, done
        self._inputs: list[InputArray] = []
        self._places: list[_Place] = []

    def take(self, given: InputArray, place: _Place) -> None:
        """The place's chunk must be waiting for it already."""
        self._inputs.append(given)
        self._places.append(place)
        if len(self._inputs) == self._encoder.batch:
            self.flush()

    @property
    def n_features(self) -> int:
        return self._encoder.n_features

    def holds(self, item: object) -> bool:
        return any(place.chunk is item for place in self._places)

    def flush(self) -> None:
        """Send off what is there, however little."""
        if not self._inputs:
            return
        inputs, self._inputs = self._inputs, []
        places, self._places = self._places, []
        self._encoder.submit(inputs, lambda vectors: self._done(places, vectors))

    def finish(self) -> None:
        self.flush()
        self._encoder.wait()


@dataclass
class _UnderWay:
    """What is known of a clip between its chunks."""

    cutter: WindowCutter | None
    meter: ChangeMeter


class Batching:
    """Takes decoded chunks and hands their features back, some time later."""

    def __init__(self, encoders: Encoders, wake: Callable[[], None], clip: ClipSettings) -> None:
        """wake: called from any thread when features have come."""
        self._encoders, self._wake, self._clip = encoders, wake, clip
        self._done: queue.SimpleQueue[tuple[list[_Place], Float16Array]] = queue.SimpleQueue()
        self._frames = _Batch(encoders.frames, self._arrived) if encoders.frames else None
        self._sound = _Batch(encoders.sound, self._arrived) if encoders.sound else None
        self._under_way: dict[int, _UnderWay] = {}

    def add(self, source: ClipSource, chunk: ClipChunk) -> EncodedChunk:
        """The clip's next chunk without its frames, which are copied."""
        clip = self._under_way.get(id(source)) or self._begin(source)
        encoded = self._empty(chunk)
        if self._frames is not None:
            if self._clip.picture_change:
                _measure_change(clip.meter, chunk, encoded)
            self._take_frames(self._frames, chunk, encoded)
        if clip.cutter is not None:
            self._take_windows(clip.cutter.push(encoded))
        return encoded

    def end(self, source: ClipSource) -> None:
        """The clip is over: what waited for more of its sound waits no longer."""
        clip = self._under_way.pop(id(source), None)
        if clip is not None and clip.cutter is not None:
            self._take_windows(clip.cutter.finish())

    def holds_back(self, item: object) -> bool:
        """Whether a part of this chunk waits here for a batch to be full."""
        return any(batch.holds(item) for batch in self._batches)

    def flush(self) -> None:
        """Send off what is there, however little."""
        for batch in self._batches:
            batch.flush()

    def collect(self) -> None:
        """Hand out the features that are there by now."""
        while True:
            try:
                places, vectors = self._done.get_nowait()
            except queue.Empty:
                return
            for place, vector in zip(places, vectors, strict=True):
                place.into[place.rows] = vector
                place.chunk.waiting -= 1

    def finish(self) -> None:
        """Until all features are handed out."""
        for batch in self._batches:
            batch.finish()
        self.collect()

    @property
    def _batches(self) -> list[_Batch]:
        return [batch for batch in (self._frames, self._sound) if batch is not None]

    def _arrived(self, places: list[_Place], vectors: Float16Array) -> None:
        self._done.put((places, vectors))
        self._wake()

    def _take_windows(self, cut: Iterable[CutWindow]) -> None:
        assert self._sound is not None
        for window in cut:
            assert window.chunk.sound is not None
            place = _Place(window.chunk, window.chunk.sound, [window.row])
            self._sound.take(window.samples, place)

    def _take_frames(self, frames: _Batch, chunk: ClipChunk, encoded: EncodedChunk) -> None:
        for steps in _held(chunk):
            # a copy: the chunk's memory is given back when all of it was taken
            frame = chunk.frames[steps[0]].copy()
            ways = [(frame, encoded.features), (frame[:, :, ::-1], encoded.mirrored)]
            for picture, into in ways:
                if into is not None:
                    encoded.waiting += 1
                    frames.take(picture, _Place(encoded, into[:, : frames.n_features], steps))

    def _begin(self, source: ClipSource) -> _UnderWay:
        windows = self._encoders.windows
        cutter = None if windows is None else WindowCutter(windows)
        self._under_way[id(source)] = clip = _UnderWay(cutter, ChangeMeter())
        return clip

    def _empty(self, chunk: ClipChunk) -> EncodedChunk:
        encoders = self._encoders
        width = encoders.frames.n_features if encoders.frames else 0
        width += N_FIELDS if width and self._clip.picture_change else 0
        features = np.zeros((chunk.n_steps, width), np.float16)
        sound = None
        if encoders.sound is not None and encoders.windows is not None:
            rows = chunk.n_steps * encoders.windows.per_step
            sound = np.zeros((rows, encoders.sound.n_features), np.float16)
        return EncodedChunk(
            chunk.index, features, chunk.frame_times_s, chunk.waveform, chunk.has_picture,
            chunk.has_sound, chunk.jpegs, chunk.waveform_scale,
            mirrored=features.copy() if encoders.mirror and width else None, sound=sound,
        )  # fmt: skip


def _measure_change(meter: ChangeMeter, chunk: ClipChunk, encoded: EncodedChunk) -> None:
    """Its place is behind the CNN's features. A frame that is held does not change."""
    for steps in _held(chunk):
        change = meter.measure(chunk.frames[steps[0]])
        encoded.features[steps[0], -N_FIELDS:] = change
        if encoded.mirrored is not None:
            encoded.mirrored[steps[0], -N_FIELDS:] = in_a_mirror(change)


def _held(chunk: ClipChunk) -> list[list[int]]:
    """Steps with picture, those that show one and the same frame together: it is encoded once."""
    steps: list[list[int]] = []
    for t in map(int, np.flatnonzero(chunk.has_picture)):
        times_s = chunk.frame_times_s
        if steps and times_s[t] == times_s[steps[-1][0]]:
            steps[-1].append(t)
        else:
            steps.append([t])
    return steps
