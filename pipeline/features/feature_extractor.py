"""Opens the encoders that turn decoded clips into features, for prep and classify."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.config import ClassifySettings
from pipeline.features.backend import Backend
from pipeline.features.batch_encoder import BatchEncoder, EncoderSource
from pipeline.features.encode_stream import Encoders
from pipeline.features.spectrogram_windows import spectrogram_source, spectrogram_windows

if TYPE_CHECKING:
    from models.backbones.frame_encoder import FrameEncoder


def open_encoders(
    source: EncoderSource,
    load: Callable[[], FrameEncoder],
    model: ModelSettings,
    clip: ClipSettings,
    backend: Backend,
    settings: ClassifySettings,
    *,
    frames: bool,
    spectrograms: bool,
    mirror: bool = False,
) -> Encoders:
    """Open the encoders of frames and of spectrogram windows, as requested.

    load: builds the network that encodes the windows. mirror: also encode frames that are mirrored
    left to right. Raises ValueError if a time step is not a whole number of windows, or if
    clip.audio_rate_hz is too low for the bands.
    """
    frame_encoder = open_encoder(source, backend, settings) if frames else None
    if not spectrograms:
        return Encoders(frame_encoder, mirror=mirror)
    windows, rate_hz = spectrogram_windows(model, clip), clip.audio_rate_hz
    window_source = spectrogram_source(source, load, windows, rate_hz, model.band_edges_hz(rate_hz))
    return Encoders(frame_encoder, open_encoder(window_source, backend, settings), windows, mirror)


def open_encoder(
    source: EncoderSource, backend: Backend, settings: ClassifySettings
) -> BatchEncoder:
    """Open an encoder; frames per call as in the settings, else the fastest for the backend."""
    batch = settings.frame_batch or backend.frames_per_call
    # by name, so that neither library is loaded for the other
    module = import_module(f"pipeline.features.{backend.library}_encoder")
    encoder: BatchEncoder = module.open_encoder(source, backend, batch, settings.workers)
    return encoder
