"""The frame encoder as the engine uses it: frames in, features out some time later.

All batches have one shape, so neighbours cannot matter. Torch and OpenVINO are loaded only when an
encoder is opened: decoders are at work by then.
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
InputArray = UInt8Array | Samples
"""A frame uint8 [C, H, W], or a window of sound float32 [S]."""
Done = Callable[[Float16Array], None]


class BatchEncoder(Protocol):
    """Encodes at most `batch` inputs at a time."""

    batch: int
    n_features: int
    identity: EncoderIdentity

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        """Encode inputs; `done` is called with float16 [N, D], from any thread."""

    def wait(self) -> None:
        """Until everything submitted is done."""


@dataclass(frozen=True)
class EncoderSource:
    """What an encoder is made from. `load` is called only where it has to be built."""

    name: str
    weights_digest: str
    n_features: int
    input_shape: tuple[int, ...]
    """Of one input: [C, H, W] of a frame, [S] of a window of sound."""
    load: Callable[[], Module]
    kind: str = "uint8"
    """Of the numbers of an input: uint8 or float32."""
    variant: str = ""
    """What the features depend on beside name, weights and shape."""

    def identity(self, backend: Backend) -> EncoderIdentity:
        return EncoderIdentity(
            name=self.name, weights_digest=self.weights_digest, n_features=self.n_features,
            backend=backend.name, precision=backend.precision,
        )  # fmt: skip


def padded(inputs: Sequence[InputArray], batch: int) -> InputArray:
    """[batch, …]: the inputs, copied, and zeros."""
    if not 1 <= len(inputs) <= batch:
        raise ValueError(f"1 to {batch} frames at a time, got {len(inputs)}")
    stacked = np.zeros((batch, *inputs[0].shape), inputs[0].dtype)
    np.stack(inputs, out=stacked[: len(inputs)])
    return stacked


def encode_now(encoder: BatchEncoder, inputs: Sequence[InputArray]) -> Float16Array:
    """Features of any number of frames or windows, float16 [N, D], in order."""
    out = np.zeros((len(inputs), encoder.n_features), np.float16)
    lock = threading.Lock()

    def place(start: int) -> Done:
        def done(features: Float16Array) -> None:
            with lock:
                out[start : start + len(features)] = features

        return done

    for start in range(0, len(inputs), encoder.batch):
        encoder.submit(inputs[start : start + encoder.batch], place(start))
    encoder.wait()
    return out
