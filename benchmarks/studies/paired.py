"""A set in which picture and sound both tell the label, neither for certain: for accuracy.py.

    PYTHONPATH=. python benchmarks/studies/paired.py PICTURES SOUNDS OUT [--level-db 0]

PICTURES and SOUNDS are folders with labels.csv (path, label, group, fold). Each silent video gets a
recording of the sound class that stands for its label, and over it, at the stated level, one of a
class that stands for another label. A video's recordings come from its own fold, so no session and
no recording is in two folds. Everything is drawn from a fixed seed. The pictures are copied as
they are, the sound is coded as AAC.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE_HZ = 16_000


def read_labels(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_sound(path: Path) -> np.ndarray:
    """float32 [S], mono, loudest sample 1."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return sound / max(1e-6, float(np.abs(sound).max()))


def power(sound: np.ndarray) -> float:
    return max(1e-9, float((sound**2).mean()))


def mixed(own: np.ndarray, other: np.ndarray, level_db: float, n_samples: int) -> np.ndarray:
    """float32 [S]: both repeated to the length, the other one level_db louder than the own."""
    own, other = np.resize(own, n_samples), np.resize(other, n_samples)
    gain = (power(own) / power(other) * 10 ** (level_db / 10)) ** 0.5
    both = own + gain * other
    return (0.7 * both / np.abs(both).max()).astype(np.float32)


def write_pair(video: Path, sound: np.ndarray, path: Path) -> None:
    """The video's coded pictures with this sound."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        pictures = source.streams.video[0]
        copied: Any = target.add_stream_from_template(pictures)
        audio: Any = target.add_stream("aac", rate=RATE_HZ, layout="mono")
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        resampler = av.AudioResampler("fltp", "mono", RATE_HZ, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            target.mux(audio.encode(part))


def length_s(video: Path) -> float:
    with av.open(str(video)) as container:
        return float(container.duration or 0) / av.time_base


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--level-db", type=float, default=0.0)
    asked = parser.parse_args()
    videos, sounds = read_labels(asked.pictures), read_labels(asked.sounds)
    labels = sorted({row["label"] for row in videos})
    stands_for = dict(zip(labels, sorted({row["label"] for row in sounds}), strict=False))
    pool: dict[tuple[str, str], list[Path]] = {}
    for row in sounds:
        pool.setdefault((row["label"], row["fold"]), []).append(asked.sounds / row["path"])
    rng = np.random.default_rng(0)
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in sorted(videos, key=lambda row: row["path"]):
        other = rng.choice([label for label in labels if label != row["label"]])
        own, over = (
            read_sound(rng.choice(np.array(pool[stands_for[label], row["fold"]], dtype=object)))
            for label in (row["label"], other)
        )
        video, path = asked.pictures / row["path"], asked.out / row["path"].replace("/", "-")
        n_samples = int(length_s(video) * RATE_HZ)
        write_pair(video, mixed(own, over, asked.level_db, n_samples), path)
        rows.append([path.name, row["label"], row["group"], row["fold"]])
    with (asked.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label", "group", "fold"], *rows])
    print(f"{len(rows)} clips in {asked.out}; sounds that stand for labels: {stands_for}")


if __name__ == "__main__":
    main()
