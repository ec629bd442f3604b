"""The frame encoder in torch: channels last on a processor, autocast on a GPU."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features.backend import Backend
from pipeline.features.batch_encoder import Done, EncoderSource, InputArray, padded

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
