"""Small frames: what the JPEG shows, and alike whatever the brightness."""

from __future__ import annotations

import numpy as np
from PIL import Image

from data_prep.fingerprints.thumbnail import (
    THUMBNAIL_PX,
    thumbnail_of_jpeg,
    unit,
    view_vectors,
)
from data_prep.video.resize import encode_jpeg


def _frame(seed: int, side_px: int = 260) -> np.ndarray:
    """uint8 [C, H, W]."""
    coarse = np.random.default_rng(seed).integers(20, 200, (10, 10)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
    grey = np.asarray(picture)
    return np.repeat(grey[None], 3, axis=0)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    return thumbnail_of_jpeg(encode_jpeg(frame))


def test_a_thumbnail_shows_what_the_frame_does() -> None:
    frame = _frame(1)
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    shrunk = np.asarray(Image.fromarray(frame[0]).resize(size, Image.Resampling.BOX))
    first, second = unit(view_vectors([_thumbnail(frame), shrunk]))
    assert float(first @ second) > 0.99


def test_brightness_does_not_matter_and_other_pictures_differ() -> None:
    frame = _frame(1)
    darker = (frame * 0.6 + 20).astype(np.uint8)
    pictures = (frame, darker, _frame(2))
    first, second, third = unit(view_vectors([_thumbnail(f) for f in pictures]))
    assert float(first @ second) > 0.99
    assert float(first @ third) < 0.6


def test_a_picture_of_one_shade_is_like_nothing() -> None:
    flat = np.full((3, 64, 64), 90, np.uint8)
    assert not unit(view_vectors([_thumbnail(flat)])).any()
    assert view_vectors([]).shape == (0, THUMBNAIL_PX**2)
