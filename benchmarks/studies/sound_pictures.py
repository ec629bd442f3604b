"""How windows of sound are best shown to the frame encoder: tried ways, judged by a simple model.

    PYTHONPATH=. python benchmarks/studies/sound_pictures.py FOLDER [--encoder efficientnet_lite2] [--only NAME…]

FOLDER holds labels.csv (path, label, fold). Each recording's windows become pictures in every way
named in WAYS, the frozen encoder describes them, and logistic regression on the features' mean and
deviation over time is cross-validated on the folds. Prints accuracy, and milliseconds of one core
per window, so that a way that is cheaper and no worse can be told.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import openvino
import torch
from paired import RATE_HZ
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.studies.networks import compiled
from models.audio.spectrogram_images import SpectrogramEncoder
from models.settings import ModelSettings
from pipeline.features.encoder_weights import load_frame_encoder

_BLACK, _WHITE = -13.8, 5.0
STRENGTHS = (1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Way:
    """How a window becomes a picture."""

    height_px: int = 260
    width_px: int = 260
    window_s: float = 2.0
    hop_s: float = 1.0
    colour: Callable[[Tensor], Tensor] = lambda bands: fixed(bands).expand(-1, 3, -1, -1)
    """Log power [N, M, frames], high bands first → [N, 3, M, frames] in 0…255."""


def fixed(bands: Tensor) -> Tensor:
    return ((bands - _BLACK) / (_WHITE - _BLACK) * 255).clamp(0, 255)[:, None]


def levelled(bands: Tensor) -> Tensor:
    """Loudest point white, 80 dB below it black: how loud the recording is does not show."""
    top = bands.amax(dim=(1, 2), keepdim=True)
    return (((bands - top) / 18.4 + 1) * 255).clamp(0, 255)[:, None].expand(-1, 3, -1, -1)


def both(bands: Tensor) -> Tensor:
    """Fixed scale in red and blue, levelled in green."""
    red = fixed(bands)
    return torch.cat([red, levelled(bands)[:, :1], red], dim=1)


def moving(bands: Tensor) -> Tensor:
    """Red: power; green: its change over 50 ms; blue: power above the window's mean spectrum."""
    red = fixed(bands)
    change = nn.functional.pad(bands[:, :, 5:] - bands[:, :, :-5], (2, 3))
    above = bands - bands.mean(dim=2, keepdim=True)
    others = [(x * 32 + 128).clamp(0, 255)[:, None] for x in (change, above)]
    return torch.cat([red, *others], dim=1)


WAYS = {
    "260 x 260": Way(),
    "128 x 192": Way(128, 192),
    "160 x 160": Way(160, 160),
    "192 x 192": Way(192, 192),
    "192 x 256": Way(192, 256),
    "levelled": Way(colour=levelled),
    "both": Way(colour=both),
    "moving": Way(colour=moving),
    "1 s": Way(window_s=1.0),
    "3 s": Way(window_s=3.0),
}  # fmt: skip


def read_sound(path: Path) -> np.ndarray:
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def windows(sound: np.ndarray, way: Way) -> np.ndarray:
    """float32 [N, S], each in the middle of its hop; silence past the ends."""
    length, hop = round(way.window_s * RATE_HZ), round(way.hop_s * RATE_HZ)
    n = max(1, round(sound.size / hop))
    before = (length - hop) // 2
    padded = np.zeros(before + n * hop + length, np.float32)
    padded[before : before + sound.size] = sound / 32768
    return np.stack([padded[k * hop : k * hop + length] for k in range(n)])


def features_of(sounds: list[np.ndarray], way: Way, encoder: str) -> tuple[np.ndarray, float]:
    """([clips, 2 D], milliseconds of one core per window)."""
    frames = load_frame_encoder(ModelSettings(frame_encoder=encoder)).eval()
    mel = SpectrogramEncoder(frames, RATE_HZ, 260, 2 * RATE_HZ).mel
    shape = (1, 3, way.height_px, way.width_px)

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames = frames

        def forward(self, pictures: Tensor) -> Tensor:
            found: Tensor = self.frames.encode(pictures)
            return found

    model = openvino.convert_model(Encode().eval(), example_input=torch.zeros(shape))
    model.reshape(list(shape))
    network = compiled(model, "float32", threads=2, streams=2)
    found: dict[tuple[int, int], np.ndarray] = {}
    requests = openvino.AsyncInferQueue(network, 3)
    requests.set_callback(
        lambda request, place: found.__setitem__(place, request.get_output_tensor(0).data[0].copy())
    )
    begun_s = time.perf_counter()
    for clip, sound in enumerate(sounds):
        power = mel(torch.from_numpy(windows(sound, way)))
        pictures = nn.functional.interpolate(
            way.colour(torch.log(power + 1e-6)), shape[2:], mode="bilinear", align_corners=False
        ).numpy()
        for k, picture in enumerate(pictures):
            requests.start_async([picture[None]], (clip, k))
    requests.wait_all()
    took_ms = 2000 * (time.perf_counter() - begun_s) / len(found)
    described = []
    for clip in range(len(sounds)):
        of_clip = np.stack([value for (c, _), value in sorted(found.items()) if c == clip])
        described.append(np.concatenate([of_clip.mean(axis=0), of_clip.std(axis=0)]))
    return np.array(described), took_ms


def accuracy(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, strength: float) -> float:
    right = 0
    for fold in sorted(set(folds)):
        train, test = folds != fold, folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(features[train], labels[train])
        right += int((model.predict(features[test]) == labels[test]).sum())
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="efficientnet_lite2")
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS))
    asked = parser.parse_args()
    with (asked.folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sounds = [read_sound(asked.folder / row["path"]) for row in rows]
    labels, folds = (np.array([row[key] for row in rows]) for key in ("label", "fold"))
    print("| way | ms per window | " + " | ".join(f"C = {s:g}" for s in STRENGTHS) + " |")
    for name in asked.only:
        features, took_ms = features_of(sounds, WAYS[name], asked.encoder)
        scores = [accuracy(features, labels, folds, strength) for strength in STRENGTHS]
        print(f"| {name} | {took_ms:.1f} | " + " | ".join(f"{s:.1%}" for s in scores) + " |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
