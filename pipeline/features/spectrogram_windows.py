"""Cuts a clip's sound into overlapping windows, chunk by chunk.

    steps       |    0    |    1    |    2    |        one window per step, twice as long as it:
    window 1       [- - - - - - - - -]                 centred on its hop, so the last ones of a
                                                       chunk wait for the next chunk's sound
With clip.causal they end with their hop. The sound is padded with silence at both ends of the clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data_prep.clip import Samples
from data_prep.settings import ClipSettings
from models.settings import ModelSettings, spectrogram_feature_dim
from pipeline.features.batch_encoder import EncoderSource
from pipeline.features.encoded_clip import EncodedChunk

if TYPE_CHECKING:
    from torch.nn import Module

    from models.backbones.frame_encoder import FrameEncoder


@dataclass(frozen=True)
class SpectrogramWindows:
    """Length and hop of the windows in samples, and their number per time step."""

    length: int
    hop: int
    per_step: int
    causal: bool = False
    """Whether a window ends with its hop instead of being centred on it."""

    @property
    def first(self) -> int:
        """First sample of the first window, relative to the clip's."""
        return self.hop - self.length if self.causal else (self.hop - self.length) // 2


def window_length_s(settings: ModelSettings, clip: ClipSettings) -> float:
    """Length of the windows; by default shorter ones where half of a long one would be the past."""
    if settings.sound_window_s is not None:
        return settings.sound_window_s
    return max(1.0, 1 / clip.step_rate_hz) if clip.causal else 2.0


def spectrogram_windows(settings: ModelSettings, clip: ClipSettings) -> SpectrogramWindows:
    """The windows of the settings. Raises ValueError if a step is not a whole number of hops."""
    hop = clip.samples_per_step  # by default one window per step
    if settings.sound_hop_s is not None:
        hop = round(settings.sound_hop_s * clip.audio_rate_hz)
    if hop < 1 or clip.samples_per_step % hop:
        raise ValueError(
            f"model.sound_hop_s={settings.sound_hop_s:g} does not divide a time step "
            f"({1 / clip.step_rate_hz:g} s, from clip.frame_rate_hz); use "
            "null, or the step divided by 2, 3, 4 …"
        )
    length = round(window_length_s(settings, clip) * clip.audio_rate_hz)
    length += (length - hop) % 2  # even, so that the window is centred on its hop
    return SpectrogramWindows(length, hop, clip.samples_per_step // hop, clip.causal)


def spectrogram_source(
    frames: EncoderSource,
    load: Callable[[], FrameEncoder],
    windows: SpectrogramWindows,
    rate_hz: int,
    edges_hz: tuple[float, float],
) -> EncoderSource:
    """The encoder of audio windows: log-mel spectrogram images into the frame encoder `frames`."""
    side_px = frames.input_shape[-1]

    def built() -> Module:
        from models.audio.spectrogram_images import SpectrogramEncoder

        return SpectrogramEncoder(load(), rate_hz, side_px, windows.length, edges_hz).eval()

    return replace(
        frames, n_features=spectrogram_feature_dim(frames.n_features),
        input_shape=(windows.length,), load=built, kind="float32",
        variant=f"sound {rate_hz} Hz {windows.length} {side_px} px {edges_hz}",
    )  # fmt: skip


@dataclass(frozen=True)
class CutWindow:
    """A window of sound float32 [S], and its row in the chunk's features."""

    chunk: EncodedChunk
    row: int
    samples: Samples


class WindowCutter:
    """Takes the chunks of one clip in order; yields windows as soon as their sound is complete."""

    def __init__(self, windows: SpectrogramWindows) -> None:
        self._windows = windows
        self._sound = np.zeros(windows.length, np.float32)  # silence before the clip
        self._start = -windows.length  # of self._sound, relative to the clip's first sample
        self._next = windows.first  # first sample of the next window
        self._waiting: deque[tuple[EncodedChunk, int, int]] = deque()

    def push(self, chunk: EncodedChunk) -> Iterator[CutWindow]:
        """Add a chunk; yield the windows that are complete. Steps without sound have none."""
        for step in range(chunk.n_steps):
            for number in range(self._windows.per_step):
                if chunk.audio_mask[step]:
                    row = step * self._windows.per_step + number
                    self._waiting.append((chunk, row, self._next))
                    chunk.n_pending += 1  # now, or it could leave before its last window
                self._next += self._windows.hop
        self._sound = np.concatenate([self._sound, chunk.samples])
        yield from self._cut()

    def finish(self) -> Iterator[CutWindow]:
        """End the clip; yield the remaining windows, padded with silence."""
        self._sound = np.concatenate([self._sound, np.zeros(self._windows.length, np.float32)])
        yield from self._cut()

    def _cut(self) -> Iterator[CutWindow]:
        end = self._start + self._sound.size
        while self._waiting and self._waiting[0][2] + self._windows.length <= end:
            chunk, row, first = self._waiting.popleft()
            place = first - self._start
            yield CutWindow(chunk, row, self._sound[place : place + self._windows.length].copy())
        # keep only what waiting windows, or else the next one, still need
        needed = min([first for _, _, first in list(self._waiting)[:1]] + [self._next])
        self._sound = self._sound[max(0, needed - self._start) :]
        self._start = end - self._sound.size
