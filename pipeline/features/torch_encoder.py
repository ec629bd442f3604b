"""Frame encoder in torch, on a CPU or, with autocast, on a GPU."""

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

_BATCHES_IN_FLIGHT = 2  # on a GPU one batch is computed while the next is copied


class TorchEncoder:
    """A BatchEncoder; see `pipeline.features.batch_encoder`."""

    def __init__(self, source: EncoderSource, backend: Backend, batch: int) -> None:
        self.batch, self.n_features = batch, source.n_features
        self.identity = source.identity(backend)
        self._device = torch.device(backend.device)
        self._precision = getattr(torch, backend.precision)
        self._part = batch  # frames per call; smaller after the device ran out of memory
        self._in_flight: deque[tuple[Tensor, torch.cuda.Event, Done, int]] = deque()
        if self._device.type == "cpu":
            keep_freed_memory()
        module = source.load().eval().to(self._device)
        self._module = module.to(memory_format=torch.channels_last)  # fastest for convolutions

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        """Encode inputs: on a CPU before this returns, on a GPU asynchronously.

        Raises UserError if the GPU's memory is too small for a single frame.
        """
        batch = torch.from_numpy(padded(inputs, self.batch))  # [batch, C, H, W]
        if self._device.type == "cpu":
            features = self._features(batch)  # [batch, D]
            done(features[: len(inputs)].to(torch.float16).numpy())
            return
        pinned = batch.pin_memory()  # copies are asynchronous from pinned memory only
        features = self._fitting(pinned)
        result = torch.empty(features.shape, dtype=torch.float16, pin_memory=True)
        result.copy_(features, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()  # signals the end of the copy
        self._in_flight.append((result, event, done, len(inputs)))
        while len(self._in_flight) > _BATCHES_IN_FLIGHT:
            self._collect()

    def wait(self) -> None:
        """Block until `done` was called for every batch submitted."""
        while self._in_flight:
            self._collect()

    def _collect(self) -> None:
        result, event, done, count = self._in_flight.popleft()
        event.synchronize()
        done(result[:count].numpy().copy())  # a view would keep the pinned buffer alive

    def _fitting(self, frames: Tensor) -> Tensor:
        """Features of a batch, in parts if the GPU's memory is too small for all of it.

        The rounding of a GPU's sums depends on the batch shape, so features may differ in the last
        digits once the GPU has run out of memory.
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
                torch.cuda.empty_cache()  # blocks cached for the larger shape

    def _features(self, frames: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast():
            features: Tensor = self._module(frames.to(self._device, non_blocking=True))
        return features.float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._precision)


def open_encoder(source: EncoderSource, backend: Backend, batch: int, workers: int) -> TorchEncoder:
    """The encoder; torch chooses its own threads."""
    return TorchEncoder(source, backend, batch)


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks instead of returning them to the kernel; elsewhere no effect.

    The next layer allocates as much again: without this, half of the CNN's time on a CPU is spent
    in page faults (measured: 20.6 against 10.4 ms per frame for Lite0).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # None in other C libraries, like musl
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD in malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 2**31 - 1)
