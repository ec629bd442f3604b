"""Small frames: the same from JPEG as from the frame, and alike whatever the brightness."""

from __future__ import annotations

import numpy as np
from PIL import Image

from data_prep.fingerprints.thumbnail import (
    THUMBNAIL_PX,
    thumbnail_of_frame,
    thumbnail_of_jpeg,
    unit,
    view_vectors,
)
from data_prep.frames.framing import encode_jpeg


def _frame(seed: int, side_px: int = 260) -> np.ndarray:
    """uint8 [C, H, W]."""
    coarse = np.random.default_rng(seed).integers(20, 200, (10, 10)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
    grey = np.asarray(picture)
    return np.repeat(grey[None], 3, axis=0)


def test_jpeg_and_frame_look_alike() -> None:
    frame = _frame(1)
    one, other = thumbnail_of_frame(frame), thumbnail_of_jpeg(encode_jpeg(frame))
    assert one.shape == other.shape == (THUMBNAIL_PX, THUMBNAIL_PX)
    first, second = unit(view_vectors([one, other]))
    assert float(first @ second) > 0.99


def test_brightness_does_not_matter_and_other_pictures_differ() -> None:
    frame = _frame(1)
    darker = (frame * 0.6 + 20).astype(np.uint8)
    pictures = (frame, darker, _frame(2))
    first, second, third = unit(view_vectors([thumbnail_of_frame(f) for f in pictures]))
    assert float(first @ second) > 0.99
    assert float(first @ third) < 0.6


def test_a_picture_of_one_shade_is_like_nothing() -> None:
    flat = np.full((3, 64, 64), 90, np.uint8)
    assert not unit(view_vectors([thumbnail_of_frame(flat)])).any()
    assert view_vectors([]).shape == (0, THUMBNAIL_PX**2)
