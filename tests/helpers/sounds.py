"""Sounds whose bands rise and fall."""

from __future__ import annotations

import numpy as np

SOUND_RATE_HZ = 16_000


def noise_with_bands(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Noise whose bands rise and fall, as speech and animals do. float32 [S]."""
    draw = np.random.default_rng(seed)
    n = int(seconds * SOUND_RATE_HZ)
    noise = draw.normal(0, 1, n)
    slow = np.repeat(draw.uniform(0.05, 1, n // 800 + 1), 800)[:n]
    return (0.1 * noise * slow).clip(-1, 1).astype(np.float32)
