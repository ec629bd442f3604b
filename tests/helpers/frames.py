"""Frames for encoders."""

from __future__ import annotations

import numpy as np

from models.settings import ModelSettings

LITE0 = ModelSettings(frame_encoder="efficientnet_lite0")  # random weights give zeros


SIDE_PX = 64


def some_frames(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, SIDE_PX, SIDE_PX)).astype(np.uint8) for _ in range(n)]
