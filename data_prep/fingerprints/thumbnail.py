"""Frames as thumbnail vectors; the dot product of two unit vectors is their similarity."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_prep.clip import UInt8Array

THUMBNAIL_PX = 32

Vectors = npt.NDArray[np.float32]


def thumbnail_of_jpeg(jpeg: bytes) -> UInt8Array:
    """uint8 [32, 32] luma of a JPEG, decoded at a fraction of its size where possible."""
    with Image.open(io.BytesIO(jpeg)) as image:
        # a JPEG decoder can scale down by 2, 4 or 8 while decoding
        image.draft("L", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        return _shrunk(image.convert("L"))


def view_vectors(thumbnails: list[UInt8Array]) -> Vectors:
    """float32 [F, 1024]: grey levels minus the frame's mean, from F thumbnails uint8 [32, 32]."""
    if not thumbnails:
        return np.zeros((0, THUMBNAIL_PX**2), np.float32)
    rows = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def unit(vectors: Vectors) -> Vectors:
    """Rows [F, D] scaled to length 1; rows shorter than 1 are kept."""
    # a frame of one shade is noise about 0: it must not be scaled up to length 1
    scaled: Vectors = vectors / np.maximum(1.0, np.linalg.norm(vectors, axis=1, keepdims=True))
    return scaled


def _shrunk(image: Image.Image) -> UInt8Array:
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.uint8)
