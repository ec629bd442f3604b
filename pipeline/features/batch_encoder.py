"""The frame encoder as the engine uses it: frames in, features out some time later.

All batches have one shape, so neighbours cannot matter. Torch and OpenVINO are loaded only when an
encoder is opened: decoders are at work by then.

The frame encoder in torch: channels last on a processor, autocast on a GPU.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_prep.clip import Samples, UInt8Array
from pipeline.cores import count_cores, in_background
from pipeline.errors import UserError
from pipeline.features.backend import Backend
from pipeline.storage.workspace import EncoderIdentity

if TYPE_CHECKING:
    from torch.nn import Module

    from pipeline.config import ClassifySettings


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


def open_encoder(
    source: EncoderSource, backend: Backend, settings: ClassifySettings
) -> BatchEncoder:
    """The encoder on this backend, with as many frames per call as are fastest there or asked."""
    batch = settings.frame_batch or backend.frames_per_call
    if backend.library == "openvino":
        from pipeline.features.openvino_encoder import OpenVinoEncoder

        threads = min(count_cores(settings.workers), count_cores())
        return in_background(lambda: OpenVinoEncoder(source, backend, batch, threads))
    pass  # MOVED

    return TorchEncoder(source, backend, batch)


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


_BATCHES_IN_FLIGHT = 2  # on a GPU: one is computed while the next is copied


class TorchEncoder:
    """A BatchEncoder; see `pipeline.features.batch_encoder`."""

    def __init__(self, source: EncoderSource, backend: Backend, batch: int) -> None:
        self.batch, self.n_features = batch, source.n_features
        self.identity = source.identity(backend)
        self._device = torch.device(backend.device)
        self._precision = getattr(torch, backend.precision)
        self._part = batch
        """Frames that the device takes at once; smaller after it ran out of memory."""
        self._in_flight: deque[tuple[Tensor, torch.cuda.Event, Done, int]] = deque()
        if self._device.type == "cpu":
            keep_freed_memory()
        # Channels last is the layout that convolutions are fastest in.
        module = source.load().eval().to(self._device)
        self._module = module.to(memory_format=torch.channels_last)

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        given = torch.from_numpy(padded(inputs, self.batch))
        if self._device.type == "cpu":
            features = self._features(given)
            done(features[: len(inputs)].to(torch.float16).numpy())
            return
        pinned = given.pin_memory()
        features = self._fitting(pinned)
        back = torch.empty(features.shape, dtype=torch.float16, pin_memory=True)
        back.copy_(features, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._in_flight.append((back, event, done, len(inputs)))
        while len(self._in_flight) > _BATCHES_IN_FLIGHT:
            self._collect()

    def wait(self) -> None:
        while self._in_flight:
            self._collect()

    def _collect(self) -> None:
        back, event, done, count = self._in_flight.popleft()
        event.synchronize()
        done(back[:count].numpy().copy())

    def _fitting(self, frames: Tensor) -> Tensor:
        """Features of a batch in as many parts as the device's memory asks for.

        A GPU's sums depend on the shape of a batch in the last digits, so after it ran out of
        memory features may differ by rounding from those before.
        """
        while True:
            try:
                return torch.cat([self._features(part) for part in torch.split(frames, self._part)])
            except torch.cuda.OutOfMemoryError as error:
                if self._part == 1:
                    raise UserError(
                        "the GPU's memory does not hold one frame of this encoder; use device=cpu"
                    ) from error
                self._part = max(1, self._part // 2)
                torch.cuda.empty_cache()

    def _features(self, frames: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast():
            features: Tensor = self._module(frames.to(self._device, non_blocking=True))
        return features.float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._precision)


def keep_freed_memory() -> None:
    """Let glibc keep the blocks a convolution frees instead of handing them back each time.

    The next layer asks for as much again; without this, half of the CNN's time on a processor goes
    into page faults (measured: 20.6 against 10.4 ms per frame for Lite0). Elsewhere: no effect.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 2**31 - 1)
