"""The only module that uses decord; runs in decoding workers, which never import torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.clip import FloatArray, UInt8Array
from data_prep.decode_errors import DecodeErrors, captured_stderr
from data_prep.heartbeat import beat
from data_prep.video.sampling import frame_shown_at

# On import decord opens every CUDA library of an installed `nvidia` package (0.7 s and 690 MB
# resident per process). Frames are decoded on the CPU here, so the package is hidden from it.
if "torch" not in sys.modules:
    sys.modules.setdefault("nvidia", None)  # type: ignore[arg-type]
os.environ.setdefault("DECORD_EOF_RETRY_MAX", "128")  # at a damaged end it retries for minutes
os.environ.setdefault("DECORD_REWIND_RETRY_MAX", "4")

import decord

# decord conceals damage and reports it only on stderr, where `captured_stderr` picks it up.
decord.logging.set_level(decord.logging.ERROR)

_FRAMES_AT_ONCE = 8  # between two heartbeats
_TIME_TOLERANCE_S = 2e-3  # decord stores times as float32, relative to the stream's start


class DecordMismatchError(Exception):
    """decord cannot read this file, or its frames do not match the packets."""


@dataclass
class DecordReader:
    """Random access to the frames of a file, verified against its packet times.

    frame_times_s [N]: presentation times from the packets, on the file's clock. Frames are scaled
    to `size_px` (width, height, upright). Raises DecordMismatchError on construction or reading.
    """

    path: str
    size_px: tuple[int, int]
    frame_times_s: FloatArray
    errors: DecodeErrors = field(default_factory=DecodeErrors)
    name: str = "decord"

    def __post_init__(self) -> None:
        width, height = self.size_px
        with _undamaged():
            # decord silently repeats frames it cannot decode; fault_tol makes that an error.
            self._reader: Any = decord.VideoReader(
                self.path, width=width, height=height, num_threads=1, fault_tol=1e-6
            )
            count = len(self._reader)
            actual_s = np.asarray(self._reader.get_frame_timestamp(range(count)), np.float64)[:, 0]
        if count != self.frame_times_s.size:
            raise DecordMismatchError(f"{count} frames, {self.frame_times_s.size} packets")
        actual_s, expected_s = actual_s - actual_s[0], self.frame_times_s - self.frame_times_s[0]
        tolerance = np.maximum(_TIME_TOLERANCE_S, np.abs(expected_s) * 2e-7)
        if np.any(np.abs(actual_s - expected_s) > tolerance):
            raise DecordMismatchError("its frame times differ from the packets'")

    def drain(self, end_s: float) -> float | None:
        """None: every frame is checked as it is read, so nothing has to be drained."""
        return None

    def read(self, times_s: FloatArray) -> Iterator[tuple[int, float, UInt8Array]]:
        """For each non-NaN time in [T]: (position in T, frame time s, frame [H, W, C])."""
        # decord 3.4 fails for widths of 32, 48, 96 and 144 px (it takes their rows for RGBA).
        positions = np.flatnonzero(~np.isnan(times_s))
        if positions.size == 0:
            return
        wanted = frame_shown_at(self.frame_times_s, times_s[positions])
        for start in range(0, positions.size, _FRAMES_AT_ONCE):
            indices = wanted[start : start + _FRAMES_AT_ONCE]
            with _undamaged():
                batch = self._reader.get_batch(indices.tolist()).asnumpy()
            beat()
            for row, index in enumerate(indices):
                yield (
                    int(positions[start + row]), float(self.frame_times_s[index]), batch[row]
                )  # fmt: skip


@contextmanager
def _undamaged() -> Iterator[None]:
    """Turn decord's exceptions and log messages into DecordMismatchError."""
    try:
        with captured_stderr() as lines:
            yield
    except (
        RuntimeError, ValueError, AssertionError, decord.DECORDError, decord.DECORDLimitReachedError
    ) as error:  # fmt: skip
        raise DecordMismatchError(str(error).splitlines()[0]) from error
    if lines:
        raise DecordMismatchError(lines[-1])
