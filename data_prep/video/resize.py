"""Fit pictures of any aspect ratio into square frames; encode frames as JPEG and back."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image

from data_prep.clip import UInt8Array

FrameFit = Literal["letterbox", "stretch", "crop"]

JPEG_QUALITY = 95
_BAR = 124  # about the ImageNet mean: bars are near zero after normalisation


def scaled_size(display_px: tuple[int, int], side_px: int, fit: FrameFit) -> tuple[int, int]:
    """(width, height) to which a picture of display size is scaled before `fit_square`."""
    width, height = display_px
    if width < 1 or height < 1:
        raise ValueError(f"a picture needs at least 1×1 px, got {width}×{height}")
    if fit == "stretch":
        return side_px, side_px
    scale = side_px / (max if fit == "letterbox" else min)(width, height)
    bound = min if fit == "letterbox" else max
    # `bound` corrects rounding, which could miss the side by one pixel
    return (
        max(1, bound(side_px, round(width * scale))),
        max(1, bound(side_px, round(height * scale))),
    )


def rotate(picture: UInt8Array, rotation_deg: int, mirrored: bool = False) -> UInt8Array:
    """uint8 [H, W, C] rotated counter-clockwise by a multiple of 90°, then flipped horizontally."""
    if rotation_deg % 360 == 0 and not mirrored:
        return picture
    turned = np.rot90(picture, rotation_deg // 90)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def fit_square(picture: UInt8Array, square: UInt8Array) -> None:
    """Copy uint8 [H, W, C] into `square` [C, side, side], with grey bars or a centre crop."""
    side_px = square.shape[1]
    height, width = picture.shape[:2]
    top, left = (side_px - height) // 2, (side_px - width) // 2
    if top < 0 or left < 0:
        cut_y, cut_x = max(0, -top), max(0, -left)
        picture = picture[cut_y : cut_y + side_px, cut_x : cut_x + side_px]
        height, width = picture.shape[:2]
        top, left = (side_px - height) // 2, (side_px - width) // 2
    if (height, width) != (side_px, side_px):
        square[:] = _BAR
    square[:, top : top + height, left : left + width] = picture.transpose(2, 0, 1)


def encode_jpeg(frame: UInt8Array) -> bytes:
    """uint8 [C, H, W] RGB → JPEG of quality 95, full chroma."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)  # 0: 4:4:4
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> UInt8Array:
    """JPEG → uint8 [C, H, W] RGB."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
