"""Opens what turns decoded clips into features: the same for prep and classify.

Torch and OpenVINO are loaded only when an encoder is opened: decoders are at work by then.
"""

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
    """The encoders of frames and of spectrogram windows, those that are asked for.

    load: builds the frame encoder that windows go through, where its network has to be built.
    mirror: frames are encoded mirrored left to right too. Raises ValueError where a time step holds
    no whole number of windows, or clip.audio_rate_hz no such frequencies.
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
    """The encoder on this backend, with as many frames per call as are fastest there or asked."""
    batch = settings.frame_batch or backend.frames_per_call
    # by name, so that neither library is loaded for the other
    module = import_module(f"pipeline.features.{backend.library}_encoder")
    encoder: BatchEncoder = module.open_encoder(source, backend, batch, settings.workers)
    return encoder
