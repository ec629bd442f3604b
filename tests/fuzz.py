"""Mutated media: real containers, damaged in every simple way, each by its number alone.

make fuzz N=1000        classify a thousand of them; every file must get its one row
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.helpers.media import write_video

KINDS = ("cut", "flip", "splice", "zero", "swap", "repeat", "insert", "head")


def write_seeds(folder: Path) -> list[Path]:
    """Small whole files of many containers and codecs."""
    folder.mkdir(parents=True, exist_ok=True)
    times = [40 * i for i in range(50)]
    seeds = []
    for name, options in {
        "a.mp4": {"options": {"movflags": "faststart"}},
        "b.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
        "c.mov": {}, "d.mkv": {}, "e.ts": {}, "f.flv": {"audio_codec": "aac"},
        "g.avi": {"codec": "mpeg4", "audio_codec": "libmp3lame"},
        "h.webm": {"codec": "libvpx", "audio_codec": "libopus"},
        "i.mpg": {"codec": "mpeg2video", "audio_codec": "mp2"},
        "j.mp3": {"picture": False, "audio_codec": "libmp3lame"},
        "k.wav": {"picture": False, "audio_codec": "pcm_s16le"},
        "l.flac": {"picture": False, "audio_codec": "flac"},
        "m.ogg": {"picture": False, "audio_codec": "libopus"},
        "n.m4a": {"picture": False},
        "o.gif": {"codec": "gif", "sound": False},
    }.items():  # fmt: skip
        path = folder / name
        sound_ms = None if options.get("sound") is False else (0, 2000)
        more = {k: v for k, v in options.items() if k not in ("sound",)}
        seeds.append(write_video(path, times, sound_ms=sound_ms, beeps_ms=(500, 1500), **more))
    return seeds


def mutated(seeds: list[bytes], number: int) -> tuple[str, int, bytes]:
    """(kind, index of the seed, bytes) of mutation `number`; always the same ones."""
    rng = np.random.default_rng((20_24, number))
    index = int(rng.integers(len(seeds)))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    data = bytearray(seeds[index])
    for _ in range(int(rng.integers(1, 4))):
        data = _mutate(kind, data, seeds, rng)
    return kind, index, bytes(data)


def _mutate(kind: str, data: bytearray, seeds: list[bytes], rng) -> bytearray:
    size = max(2, len(data))
    a, b = sorted(int(x) for x in rng.integers(0, size, 2))
    block = slice(a, min(b, a + size // 5))
    if kind == "cut":
        return data[: max(1, b)]
    if kind == "flip":
        for at in rng.integers(0, size, int(rng.integers(1, 60))):
            data[min(int(at), len(data) - 1)] ^= int(rng.integers(1, 256))
    elif kind == "splice":
        other = seeds[int(rng.integers(len(seeds)))]
        return data[:a] + other[min(b, len(other)) :]
    elif kind == "zero":
        data[block] = bytes(len(data[block]))
    elif kind == "swap":
        middle = (a + b) // 2
        return data[:a] + data[middle:b] + data[a:middle] + data[b:]
    elif kind == "repeat":
        return data[:b] + data[block] + data[b:]
    elif kind == "insert":
        return data[:a] + rng.bytes(int(rng.integers(1, 4096))) + data[a:]
    else:
        length = int(rng.integers(1, 200))
        data[:length] = rng.bytes(length)
    return data


def write_mutations(folder: Path, numbers: range) -> None:
    """Write mutations with these numbers beside each other."""
    seeds = write_seeds(folder.with_name(f"{folder.name}_seeds"))
    contents = [seed.read_bytes() for seed in seeds]
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        kind, index, data = mutated(contents, number)
        (folder / f"{number:06d}_{kind}{seeds[index].suffix}").write_bytes(data)


def main() -> int:
    """Classify mutations with a trained run; say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--run", type=Path, required=True, help="a trained run, as the demo's")
    parser.add_argument("--folder", type=Path, required=True, help="where the files are written")
    arguments = parser.parse_args()
    from pipeline.config import load_config
    from pipeline.inference.classify_table import classify

    files = arguments.folder / "files"
    write_mutations(files, range(arguments.first, arguments.first + arguments.n))
    table = arguments.folder / "predictions.csv"
    began = time.monotonic()
    classify([files], arguments.run, table, load_config(None, []))
    with table.open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    names = Counter(row["path"] for row in rows)
    expected = {str(path.absolute()) for path in files.iterdir()}
    counts = Counter(row["status"] for row in rows)
    print(
        f"{len(rows)} rows for {len(expected)} files in {time.monotonic() - began:.0f} s: {counts}"
    )
    for row in rows:
        if row["status"] in ("crashed", "timeout"):
            print(row["status"], row["path"], row["error"])
    whole = set(names) == expected and max(names.values()) == 1
    print("every file has exactly one row" if whole else "ROWS ARE MISSING OR DOUBLE")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
