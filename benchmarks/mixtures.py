"""A larger and harder set of sounds: each recording several times, under others of other labels.

    python benchmarks/mixtures.py SOUNDS OUT [--times 4] [--level-db 3]

SOUNDS is a folder with labels.csv (path, label, group, fold). What lies over a recording comes from
its own fold, so no recording is in two folds, and all mixtures of one recording are one group.
Everything is drawn from a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import wave
from pathlib import Path

import numpy as np
from paired import RATE_HZ, mixed, read_labels, read_sound


def write_wave(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sounds", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--level-db", type=float, default=3.0)
    asked = parser.parse_args()
    rows = sorted(read_labels(asked.sounds), key=lambda row: row["path"])
    sounds = {row["path"]: read_sound(asked.sounds / row["path"]) for row in rows}
    rng = np.random.default_rng(0)
    asked.out.mkdir(parents=True, exist_ok=True)
    found = []
    for row in rows:
        others = [
            other["path"]
            for other in rows
            if other["fold"] == row["fold"] and other["label"] != row["label"]
        ]
        own = sounds[row["path"]]
        for number, over in enumerate(rng.choice(others, asked.times, replace=False)):
            path = asked.out / f"{Path(row['path']).stem}-{number}.wav"
            write_wave(path, mixed(own, sounds[over], asked.level_db, own.size))
            found.append([path.name, row["label"], row["group"] or row["path"], row["fold"]])
    with (asked.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label", "group", "fold"], *found])
    print(f"{len(found)} clips in {asked.out}")


if __name__ == "__main__":
    main()
