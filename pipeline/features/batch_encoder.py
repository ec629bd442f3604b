"""Interface of the frame encoders: frames in, features out asynchronously.

All batches have the same shape, so that a frame's features do not depend on the batch. Torch and
OpenVINO are imported only when an encoder is opened, while decoding is already under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from data_prep.clip import Samples, UInt8Array
from pipeline.features.backend import Backend
from pipeline.storage.workspace import EncoderIdentity

if TYPE_CHECKING:
    from torch.nn import Module


Float16Array = npt.NDArray[np.float16]
InputArray = UInt8Array | Samples  # a frame uint8 [C, H, W], or a window of audio float32 [S]
Done = Callable[[Float16Array], None]


class BatchEncoder(Protocol):
    """Encoder of batches of at most `batch` inputs."""

    batch: int
    n_features: int
    identity: EncoderIdentity

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        """Start encoding; `done` is called with features float16 [N, D], from any thread."""

    def wait(self) -> None:
        """Block until `done` was called for every batch submitted."""


@dataclass(frozen=True)
class EncoderSource:
    """Description of an encoder to open. `load` is called only if it is not cached."""

    name: str
    weights_digest: str
    n_features: int
    input_shape: tuple[int, ...]  # of one input: [C, H, W] of a frame, [S] of a window of audio
    load: Callable[[], Module]
    kind: str = "uint8"  # dtype of the inputs: uint8 or float32
    variant: str = ""  # what the features depend on besides name, weights and shape

    def identity(self, backend: Backend) -> EncoderIdentity:
        """Identity of the features as computed by this backend."""
        return EncoderIdentity(
            name=self.name, weights_digest=self.weights_digest, n_features=self.n_features,
            backend=backend.name, precision=backend.precision,
        )  # fmt: skip


def padded(inputs: Sequence[InputArray], batch: int) -> InputArray:
    """Copy the inputs into one array [batch, ...], padded with zeros.

    Raises ValueError unless there are 1 to `batch` inputs.
    """
    if not 1 <= len(inputs) <= batch:
        raise ValueError(f"1 to {batch} frames at a time, got {len(inputs)}")
    stacked = np.zeros((batch, *inputs[0].shape), inputs[0].dtype)
    np.stack(inputs, out=stacked[: len(inputs)])
    return stacked


def encode_now(encoder: BatchEncoder, inputs: Sequence[InputArray]) -> Float16Array:
    """Features of any number of frames or windows, float16 [N, D], in order."""
    out = np.zeros((len(inputs), encoder.n_features), np.float16)
    lock = threading.Lock()  # done is called from several threads

    def place(start: int) -> Done:
        # a function of its own, so that each batch keeps its own start
        def done(features: Float16Array) -> None:
            with lock:
                out[start : start + len(features)] = features

        return done

    for start in range(0, len(inputs), encoder.batch):
        encoder.submit(inputs[start : start + encoder.batch], place(start))
    encoder.wait()
    return out
