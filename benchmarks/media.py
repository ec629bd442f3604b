"""Videos for the benchmarks: photographs that pan under sensor noise, with a tone of their own.

    python benchmarks/media.py FOLDER              # every kind, see KINDS

Two labels a kind (photograph and tone differ), so that a model trained on them has something to
tell apart. Files are made once and kept; making all of them takes about a quarter of an hour.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as photographs

from data_prep.media.pyav_media import ClipWriter

RATE_HZ, LENGTH_S, AUDIO_RATE_HZ = 30, 20, 44_100
LABELS = {"cat": (photographs.chelsea, 440), "cup": (photographs.coffee, 880)}
_NOISE_FIELDS, _NOISE_LEVEL = 8, 2.5


@dataclass(frozen=True)
class Kind:
    """How a set of videos is encoded by x264 (preset fast, constant quality 23)."""

    height_px: int
    key_every_s: float
    b_frames: bool

    @property
    def name(self) -> str:
        return f"{self.height_px}p-key{self.key_every_s:g}s-{'b' if self.b_frames else 'nob'}"

    @property
    def size_px(self) -> tuple[int, int]:
        return self.height_px * 16 // 9, self.height_px


KINDS = [
    Kind(height, key, b) for height in (720, 1080) for key in (0.5, 1, 2, 10) for b in (True, False)
]


def make(folder: Path, kind: Kind, clips: int) -> Path:
    """folder/KIND/LABEL/NN.mp4: one encoding per label, the further clips are copies of it."""
    home = folder / kind.name
    for number in range(clips):
        label = list(LABELS)[number % len(LABELS)]
        path = home / label / f"{number // len(LABELS):03d}.mp4"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        first = path.with_name("000.mp4")
        if path == first:
            temporary = path.with_suffix(".part.mp4")
            write(temporary, kind, label)
            temporary.rename(path)
        else:
            shutil.copyfile(first, path)
    return home


def write(path: Path, kind: Kind, label: str) -> None:
    """One video of 20 s."""
    options = {
        "preset": "fast", "threads": "0", "bf": "3" if kind.b_frames else "0",
        "g": str(round(kind.key_every_s * RATE_HZ)), "sc_threshold": "0",
    }  # fmt: skip
    photograph, tone_hz = LABELS[label]
    with ClipWriter(path, kind.size_px, Fraction(RATE_HZ), AUDIO_RATE_HZ, options) as writer:
        for number, picture in enumerate(_pan(photograph(), kind.size_px)):
            writer.add_frame(picture, number)
        times_s = np.arange(LENGTH_S * AUDIO_RATE_HZ) / AUDIO_RATE_HZ
        writer.add_audio((0.3 * np.sin(2 * np.pi * tone_hz * times_s)).astype(np.float32))


def _pan(photograph: np.ndarray, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] frames: a window that wanders over the photograph, and noise."""
    width, height = size_px
    room = (round(width * 1.25), round(height * 1.25))
    whole = np.asarray(Image.fromarray(photograph).resize(room, Image.Resampling.BICUBIC), np.int16)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, _NOISE_LEVEL, (_NOISE_FIELDS, height, width, 1)).astype(np.int16)
    for number in range(LENGTH_S * RATE_HZ):
        angle = 2 * np.pi * number / (LENGTH_S * RATE_HZ)
        x = round((room[0] - width) * (0.5 + 0.5 * np.sin(3 * angle)))
        y = round((room[1] - height) * (0.5 + 0.5 * np.cos(2 * angle)))
        picture = whole[y : y + height, x : x + width] + noise[rng.integers(_NOISE_FIELDS)]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def main() -> None:
    for kind in KINDS:
        print(make(Path(sys.argv[1]), kind, len(LABELS)), flush=True)


if __name__ == "__main__":
    main()
