"""An ffmpeg command that owes nothing to PyAV: it makes odd inputs, and says what is in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np


def ffmpeg(*words: object, data: bytes | None = None) -> bytes:
    """What the command writes to standard output. Raises RuntimeError with its own words."""
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, words)],
        input=data, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-1500:])
    return done.stdout


def sound_of(path: Path, n_channels: int, rate_hz: int, *before: object) -> np.ndarray:
    """float32 [C, S] as the command decodes it, channels as they are in the file."""
    raw = ffmpeg(*before, "-i", path, "-map", "0:a:0", "-ar", rate_hz, "-f", "f32le", "-")
    return np.frombuffer(raw, "<f4").reshape(-1, n_channels).T


def frames_of(path: Path, size: tuple[int, int], *after: object) -> np.ndarray:
    """uint8 [N, H, W, C], upright as the command shows them."""
    width, height = size
    raw = ffmpeg("-i", path, "-map", "0:v:0", *after, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
