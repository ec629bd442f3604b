"""Which plain statistics of log-mel bands tell sounds apart.

    PYTHONPATH=. python benchmarks/studies/sound_statistics.py WORK [--bands 64 128]

WORK is a prepared folder whose manifest has folds. For every clip, statistics over the 10 ms frames
of its steps with sound; logistic regression on them, cross-validated on the folds. What helps here
on few clips is worth building into the network, which has to learn the same from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sound_pictures import STRENGTHS, accuracy

from models.audio.front_end import AudioFrontEnd
from models.settings import ModelSettings
from pipeline.training.training_data import open_prepared

Matrix = np.ndarray


def moments(bands: Matrix) -> list[Matrix]:
    return [bands.mean(axis=0), bands.std(axis=0)]


def changes(bands: Matrix, lag: int) -> list[Matrix]:
    """How much bands change over `lag` frames."""
    moved = bands[lag:] - bands[:-lag] if len(bands) > lag else np.zeros_like(bands[:1])
    return [moved.std(axis=0)]


def shares(bands: Matrix) -> list[Matrix]:
    return list(np.percentile(bands, [10, 50, 90, 98], axis=0))


def shape(bands: Matrix) -> list[Matrix]:
    """Each frame's bands against their own mean: the spectrum's shape, however loud."""
    return moments(bands - bands.mean(axis=1, keepdims=True))


WAYS: dict[str, Callable[[Matrix], list[Matrix]]] = {
    "mean, deviation": moments,
    "+ maximum": lambda b: [*moments(b), b.max(axis=0)],
    "+ change over 10 ms": lambda b: [*moments(b), *changes(b, 1)],
    "+ change over 10, 50, 200 ms": lambda b: [
        *moments(b), *changes(b, 1), *changes(b, 5), *changes(b, 20),
    ],
    "+ percentiles": lambda b: [*moments(b), *shares(b)],
    "+ spectrum's shape": lambda b: [*moments(b), *shape(b)],
    "all": lambda b: [
        *moments(b), *changes(b, 1), *changes(b, 5), *changes(b, 20), *shares(b), *shape(b),
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--bands", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--audible", action="store_true", help="without steps of digital silence")
    asked = parser.parse_args()
    data = open_prepared(asked.work).whole
    clip = data.record.clip
    print("| bands | statistics | " + " | ".join(f"C = {s:g}" for s in STRENGTHS) + " |")
    for n_bands in asked.bands:
        settings = ModelSettings(audio_front_end="log_mel", mel_bins=n_bands)
        front_end = AudioFrontEnd(settings, clip.audio_rate_hz, clip.samples_per_step)
        items = [
            item for item in data.samples(["train"], front_end) if item.sample.audio_mask.any()
        ]
        labels = np.array([item.row.label for item in items])
        folds = np.array([item.row.fold for item in items])
        heard, silence = [], float(front_end.silence(1).max()) + 1e-3
        for item in items:
            bands = item.sample.audio.numpy().reshape(item.sample.n_steps, -1, n_bands)
            counts = item.sample.audio_mask.numpy()
            if asked.audible and (bands.max(axis=(1, 2)) > silence).any():
                counts = counts & (bands.max(axis=(1, 2)) > silence)
            heard.append(bands[counts].reshape(-1, n_bands))
        for name, way in WAYS.items():
            features = np.array([np.concatenate(way(bands)) for bands in heard])
            scores = [accuracy(features, labels, folds, strength) for strength in STRENGTHS]
            row = " | ".join(f"{score:.1%}" for score in scores)
            print(f"| {n_bands} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
