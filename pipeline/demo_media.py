"""The demo's videos: what is seen, in which order, and what is heard make the label.

A clip shows a sunny day and a moonlit night, one after the other, and sounds of a bird, a frog or
rain. Its label is the pair, for example `day_then_night__frog`. So the picture alone cannot know
the sound's part, the sound alone cannot know the picture's, and averages over time cannot know the
order.
"""

from __future__ import annotations

import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.media.pyav_media import ClipWriter

ORDERS = ("day_then_night", "night_then_day")
SOUNDS = ("bird", "frog", "rain")
LABELS = tuple(f"{order}__{sound}" for order in ORDERS for sound in SOUNDS)

_RATE_HZ = 16_000
_SIZES_PX = ((160, 120), (192, 108), (128, 160), (176, 144))
_FRAME_RATES_HZ = (Fraction(8), Fraction(10), Fraction(12), Fraction(15))

# Both halves of a clip begin with a key frame and have one quality throughout: otherwise the
# encoder's own traces tell which half came first, and averages over time could read the order.
_EQUAL_QUALITY = {"qp": "26", "bf": "0", "g": "1000", "sc_threshold": "0"}

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DemoClip:
    """One clip to write. `scene` seeds everything but the order and the kind of sound."""

    path: Path
    order: str
    sound: str | None
    scene: int

    @property
    def label(self) -> str:
        return f"{self.order}__{self.sound}"


def plan_labelled(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """`count` clips in one folder per label, every clip a scene of its own."""
    clips = []
    for index in range(count):
        order, sound = ORDERS[index % 2], SOUNDS[index // 2 % 3]
        path = folder / f"{order}__{sound}" / f"clip_{index:04d}.mp4"
        clips.append(DemoClip(path, order, sound, seed * 1_000_000 + index))
    return clips


def plan_new(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """At least `count` clips: every scene in both orders with each of the three sounds.

    A model of one modality is given the same picture three times, or the same sound twice, and so
    is right in a third, or half, of them at best: its cap holds exactly, not only on average.
    """
    clips = []
    scenes = -(-count // len(LABELS))
    names = np.random.default_rng(seed).permutation(scenes * len(LABELS))  # tell nothing
    for index, name in enumerate(names):
        scene, kind = divmod(index, len(LABELS))
        path = folder / f"new_{name:04d}.mp4"
        number = seed * 1_000_000 + 500_000 + scene
        clips.append(DemoClip(path, ORDERS[kind // 3], SOUNDS[kind % 3], number))
    return clips


def write_clips(clips: list[DemoClip]) -> None:
    """Write all clips with two processes."""
    for folder in {clip.path.parent for clip in clips}:
        folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(write_clip, clips, chunksize=16))


def write_odd_files(folder: Path, whole: Path, seed: int) -> list[Path]:
    """Damaged files, which must get a row with a reason and no prediction."""
    data = whole.read_bytes()
    files = {
        "damaged_cut_short.mp4": data[: len(data) * 2 // 5],
        "damaged_empty.mp4": b"",
        "damaged_header.mp4": bytes(64) + data[64:],
        "damaged_noise.mp4": np.random.default_rng(seed).bytes(20_000),
        "damaged_text.mp4": b"this is a note that somebody renamed\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(files)]


def write_truth(path: Path, clips: list[DemoClip]) -> None:
    """CSV of path (relative to it) and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(clip.path.relative_to(path.parent)), clip.label] for clip in clips)


def write_clip(clip: DemoClip) -> None:
    """Render and encode one clip: H.264, and AAC unless its sound is None."""
    rng = np.random.default_rng(clip.scene)
    width, height = _SIZES_PX[rng.integers(len(_SIZES_PX))]
    rate_hz = _FRAME_RATES_HZ[rng.integers(len(_FRAME_RATES_HZ))]
    # Each scene lasts whole seconds and moves by its own clock, so that a clip holds the same
    # frames in either order: averages over time are equal by construction, not by chance.
    lasts_s = {kind: int(rng.integers(2, 4)) for kind in ("day", "night")}
    duration_s = float(sum(lasts_s.values()))
    order = ("day", "night") if clip.order == ORDERS[0] else ("night", "day")
    looks = {kind: _Scene(kind, width, height, rng) for kind in ("day", "night")}
    wave = None
    if clip.sound is not None:
        wave = _sound(clip.sound, duration_s, np.random.default_rng(clip.scene + 7))
    audio_rate_hz = None if wave is None else _RATE_HZ
    with ClipWriter(clip.path, (width, height), rate_hz, audio_rate_hz, _EQUAL_QUALITY) as writer:
        index = 0
        for kind in order:
            count = int(lasts_s[kind] * rate_hz)
            for number in range(count):
                picture = looks[kind].frame(number / count)
                writer.picture(picture, index, key_frame=number == 0)
                index += 1
        if wave is not None:
            writer.sound(wave)


class _Scene:
    """A sky with sun or moon that drifts, over a ground; colours vary from clip to clip."""

    def __init__(self, kind: str, width: int, height: int, rng: np.random.Generator) -> None:
        day = kind == "day"
        sky = np.array((120, 190, 250) if day else (10, 14, 48)) + rng.integers(-18, 18, 3)
        ground = np.array((90, 160, 60) if day else (18, 30, 22)) + rng.integers(-14, 14, 3)
        self._disc = np.array((255, 220, 60) if day else (225, 228, 235))
        self._y, self._x = np.mgrid[0:height, 0:width].astype(np.float32)
        horizon = height * rng.uniform(0.62, 0.8)
        hills = horizon + height * 0.05 * np.sin(self._x / width * rng.uniform(4, 12))
        picture = np.where((self._y > hills)[:, :, None], ground, sky).astype(np.float32)
        if not day:
            stars = (rng.random((height, width)) < 0.004) & (self._y < hills)
            picture[stars] = 230
        self._picture = picture + rng.normal(0, 3, picture.shape)
        self._radius = height * rng.uniform(0.09, 0.15)
        self._start = rng.uniform(0.15, 0.5) * width
        self._drift = rng.uniform(-0.3, 0.6) * width
        self._height = rng.uniform(0.15, 0.35) * height

    def frame(self, position: float) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, C] at a position 0…1 of the scene."""
        centre = self._start + self._drift * position
        inside = (self._x - centre) ** 2 + (self._y - self._height) ** 2 < self._radius**2
        picture = np.where(inside[:, :, None], self._disc, self._picture)
        return np.clip(picture, 0, 255).astype(np.uint8)


def _sound(kind: str, duration_s: float, rng: np.random.Generator) -> Float32:
    n = int(duration_s * _RATE_HZ)
    wave = rng.normal(0, 0.004, n)
    if kind == "rain":
        hiss = rng.normal(0, 1, n)
        wave += 0.05 * np.convolve(hiss, [0.5, 0.3, 0.2], "same")
        for drop in rng.integers(0, n - 400, int(duration_s * 30)):
            wave[drop : drop + 400] += 0.15 * rng.normal(0, 1, 400) * np.exp(-np.arange(400) / 60)
    else:
        call_s = 0.16 if kind == "bird" else 0.3
        start_s = rng.uniform(0, 0.3)
        while start_s < duration_s - call_s:
            call = _call(kind, call_s, rng)
            begin = int(start_s * _RATE_HZ)
            wave[begin : begin + call.size] += call
            start_s += call_s + rng.uniform(0.08, 0.45)
    wave *= rng.uniform(0.5, 1.2)
    return np.clip(wave, -1, 1).astype(np.float32)


def _call(kind: str, duration_s: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One call: a bird's rising and falling whistle, or a frog's low, rough croak."""
    t = np.arange(int(duration_s * _RATE_HZ)) / _RATE_HZ
    envelope = np.sin(np.pi * t / duration_s) ** 2
    if kind == "bird":
        pitch_hz = rng.uniform(2200, 3200) + 700 * np.sin(2 * np.pi * t / duration_s)
        return np.asarray(0.35 * envelope * np.sin(2 * np.pi * np.cumsum(pitch_hz) / _RATE_HZ))
    base_hz = rng.uniform(130, 220)
    rough = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * rng.uniform(22, 34) * t))
    tone = sum(np.sin(2 * np.pi * base_hz * k * t) / k for k in (1, 2, 3, 5))
    return np.asarray(0.3 * envelope * rough * tone)
