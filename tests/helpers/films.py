"""Videos of one fixed camera in which a blob wanders."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from data_prep.media.pyav_media import ClipWriter
from tests.helpers.sounds import SOUND_RATE_HZ

FILM_RATE_HZ, FILM_S = 15, 6


SCENE = np.random.default_rng(0).integers(40, 200, (6, 8, 3)).repeat(20, 0).repeat(20, 1)


def film(seed: int, first: int = 0) -> list[np.ndarray]:
    """uint8 [H, W, C] frames of one fixed camera; a blob wanders by a path of its own."""
    draw = np.random.default_rng(seed)
    n_frames = FILM_RATE_HZ * FILM_S
    path = np.cumsum(draw.normal(0, 4, (n_frames, 2)), axis=0) + draw.uniform((30, 40), (90, 120))
    y, x = np.mgrid[:120, :160]
    frames = []
    for row, column in np.clip(path, (8, 8), (112, 152))[first:]:
        blob = 90 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 60)
        frames.append(np.clip(SCENE + blob[..., None], 0, 255).astype(np.uint8))
    return frames


def write_film(
    path: Path,
    frames: list[np.ndarray],
    sound: np.ndarray | None = None,
    scale: int = 1,
    crf: int = 23,
) -> None:
    size = frames[0].shape[1] // scale, frames[0].shape[0] // scale
    rate = SOUND_RATE_HZ if sound is not None else None
    with ClipWriter(path, size, Fraction(FILM_RATE_HZ), rate, {"crf": str(crf)}) as writer:
        for number, frame in enumerate(frames):
            writer.add_frame(np.ascontiguousarray(frame[::scale, ::scale]), number)
        if sound is not None:
            writer.add_audio(sound)
