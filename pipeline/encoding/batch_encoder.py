"""The frame encoder as the engine uses it: frames in, features out some time later.

All batches have one shape, so neighbours cannot matter. Torch and OpenVINO are loaded only when an
encoder is opened: decoders are at work by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from data_prep.clip import UInt8Array
from pipeline.cores import count_cores, in_background
from pipeline.encoding.backend import Backend
from pipeline.records.workspace import EncoderIdentity

if TYPE_CHECKING:
    from models.frame_encoder import FrameEncoder
    from pipeline.config import ClassifySettings

Float16Array = npt.NDArray[np.float16]
Done = Callable[[Float16Array], None]


class BatchEncoder(Protocol):
    """Encodes at most `batch` frames at a time."""

    batch: int
    n_features: int
    identity: EncoderIdentity

    def submit(self, frames: list[UInt8Array], done: Done) -> None:
        """Encode frames uint8 [C, H, W]; `done` is called with float16 [N, D], from any thread."""

    def wait(self) -> None:
        """Until everything submitted is done."""


@dataclass(frozen=True)
class EncoderSource:
    """What an encoder is made from. `load` is called only where it has to be built."""

    name: str
    weights_digest: str
    n_features: int
    side_px: int
    load: Callable[[], FrameEncoder]

    def identity(self, backend: Backend) -> EncoderIdentity:
        return EncoderIdentity(
            name=self.name, weights_digest=self.weights_digest, n_features=self.n_features,
            backend=backend.name, precision=backend.precision,
        )  # fmt: skip


def open_encoder(
    source: EncoderSource, backend: Backend, settings: ClassifySettings
) -> BatchEncoder:
    """The encoder on this backend, with as many frames per call as are fastest there or asked."""
    batch = settings.frame_batch or backend.frames_per_call
    if backend.library == "openvino":
        from pipeline.encoding.openvino_encoder import OpenVinoEncoder

        threads = min(count_cores(settings.workers), count_cores())
        return in_background(lambda: OpenVinoEncoder(source, backend, batch, threads))
    from pipeline.encoding.torch_encoder import TorchEncoder

    return TorchEncoder(source, backend, batch)


def padded(frames: list[UInt8Array], batch: int) -> UInt8Array:
    """uint8 [batch, C, H, W]: the frames, copied, and zeros."""
    if not 1 <= len(frames) <= batch:
        raise ValueError(f"1 to {batch} frames at a time, got {len(frames)}")
    stacked = np.zeros((batch, *frames[0].shape), np.uint8)
    np.stack(frames, out=stacked[: len(frames)])
    return stacked


def encode_now(encoder: BatchEncoder, frames: list[UInt8Array]) -> Float16Array:
    """Features of any number of frames, float16 [N, D], in order."""
    out = np.zeros((len(frames), encoder.n_features), np.float16)
    lock = threading.Lock()

    def place(start: int) -> Done:
        def done(features: Float16Array) -> None:
            with lock:
                out[start : start + len(features)] = features

        return done

    for start in range(0, len(frames), encoder.batch):
        encoder.submit(frames[start : start + encoder.batch], place(start))
    encoder.wait()
    return out
