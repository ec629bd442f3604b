"""Frames as vectors; the product of two at length 1 says how alike they look."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_prep.clip import UInt8Array

THUMBNAIL_PX = 32

Vectors = npt.NDArray[np.float32]


def thumbnail_of_jpeg(jpeg: bytes) -> UInt8Array:
    """uint8 [32, 32], brightness; decoded at a part of its size where that is enough."""
    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("L", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        return _shrunk(image.convert("L"))


def view_vectors(thumbnails: list[UInt8Array]) -> Vectors:
    """float32 [F, 1024]: grey levels about the picture's mean."""
    if not thumbnails:
        return np.zeros((0, THUMBNAIL_PX**2), np.float32)
    rows = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def unit(vectors: Vectors) -> Vectors:
    """Rows [F, D] at length 1; a picture of one shade stays near 0."""
    of_length_1: Vectors = vectors / np.maximum(1.0, np.linalg.norm(vectors, axis=1, keepdims=True))
    return of_length_1


def _shrunk(image: Image.Image) -> UInt8Array:
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.uint8)
