"""A larger and harder set of sounds: each recording several times, under others of other labels.

    PYTHONPATH=. python benchmarks/studies/mixtures.py SOUNDS OUT [--times 4] [--level-db 0]

SOUNDS is a folder with labels.csv (path, label, group, fold). The groups of each fold are dealt out
to blocks of one group per label; what lies over a recording comes from its own block, and a block's
mixtures are one group, so no recording is heard in two groups. Everything is drawn from a fixed
seed.
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


def blocks(rows: list[dict[str, str]], rng: np.random.Generator) -> dict[str, list[dict[str, str]]]:
    """{name: rows}: the n-th group of each label of a fold, in random order, is in block n."""
    found: dict[str, list[dict[str, str]]] = {}
    for fold in sorted({row["fold"] for row in rows}):
        for label in sorted({row["label"] for row in rows}):
            own = [row for row in rows if (row["fold"], row["label"]) == (fold, label)]
            groups = rng.permutation(sorted({row["group"] or row["path"] for row in own})).tolist()
            for row in own:
                block = f"{fold}-{groups.index(row['group'] or row['path']):02d}"
                found.setdefault(block, []).append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sounds", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--level-db", type=float, default=0.0)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    asked.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name, rows in blocks(read_labels(asked.sounds), rng).items():
        sounds = {row["path"]: read_sound(asked.sounds / row["path"]) for row in rows}
        for place, row in enumerate(rows):
            own = sounds[row["path"]]
            others = [other["path"] for other in rows if other["label"] != row["label"]]
            times = min(asked.times, len(others))
            for number, over in enumerate(rng.choice(others, times, replace=False)):
                path = asked.out / f"{name}-{place}-{number}.wav"
                write_wave(path, mixed(own, sounds[over], asked.level_db, own.size))
                found.append([path.name, row["label"], name, row["fold"]])
    with (asked.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label", "group", "fold"], *found])
    print(f"{len(found)} clips in {asked.out}")


if __name__ == "__main__":
    main()
