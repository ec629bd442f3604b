"""Peak resident memory of all processes together while classifying, against length and number.

    python benchmarks/memory.py --run runs/first [--quick] [--minutes 3 180]

One file of a minute, an hour and three hours (the same minute over and over), and folders of 100
and 10,000 small files. Memory is to stay as it is, but for the features of a clip, which a head
that reads them all at once would keep; their size is listed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data_prep.media.pyav_media import ClipWriter
from pipeline.checkpoints.checkpoint import load_model

SAMPLE_EVERY_S = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print a table of peaks and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="ten minutes and 500 files at most")
    parser.add_argument("--only", choices=("lengths", "numbers"), help="half of it")
    parser.add_argument("--minutes", type=int, nargs="+", help="lengths of the files")
    arguments = parser.parse_args()
    minutes = arguments.minutes or ((1, 5, 10) if arguments.quick else (1, 60, 180))
    counts = (100, 500) if arguments.quick else (100, 10_000)
    card = load_model(arguments.run).card
    per_step = 2 * card.frame_features
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        minute = write_minute(root / "minute.mp4")
        base = None
        print("| what | peak MB | ratio | features of the clip, MB |")
        print("|---|---|---|---|")
        for length in () if arguments.only == "numbers" else minutes:
            path = root / f"{length}_min" / "long.mp4"
            repeat(minute, path, length)
            peak = peak_mb([path], arguments.run, root / f"{length}.csv")
            base = base or peak
            steps = length * 60 * card.clip.frame_rate_hz
            row = f"one file of {length} min | {peak:.0f} | {peak / base:.3f}"
            print(f"| {row} | {steps * per_step / 1e6:.1f} |", flush=True)
            path.unlink()
        base = None
        small = small_files(root / "seeds")
        for count in () if arguments.only == "lengths" else counts:
            folder = root / f"{count}_files"
            folder.mkdir()
            for number in range(count):
                os.link(small[number % len(small)], folder / f"{number:06d}.mp4")
            peak = peak_mb([folder], arguments.run, root / f"{count}_files.csv")
            base = base or peak
            print(f"| {count} files | {peak:.0f} | {peak / base:.3f} | |", flush=True)


def write_minute(path: Path) -> Path:
    """A minute of 640×360 at 25 frames per second, with sound."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (360, 640, 3), dtype=np.uint8)
    sound = (0.1 * rng.standard_normal(60 * 16_000)).astype(np.float32)
    with ClipWriter(path, (640, 360), 25, 16_000, {"g": "50", "bf": "2"}) as writer:
        for number in range(60 * 25):
            writer.add_frame(np.roll(noise // 4 + number % 128, number * 3, axis=1), number)
        writer.add_audio(sound)
    return path


def repeat(source: Path, target: Path, times: int) -> None:
    """The same packets again and again, without encoding."""
    target.parent.mkdir(parents=True)
    with av.open(str(target), "w") as new:
        copies: dict[int, av.stream.Stream] = {}
        for turn in range(times):
            with av.open(str(source)) as old:
                for stream in old.streams:
                    if turn == 0:
                        copies[stream.index] = new.add_stream_from_template(stream)
                for packet in old.demux():
                    if packet.dts is None:
                        continue
                    # a second more than the minute: its last block of sound reaches past it
                    shift = round(Fraction(61 * turn) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copies[packet.stream_index]
                    new.mux(packet)


def small_files(folder: Path) -> list[Path]:
    """Six files of half a second, 160×96, with sound."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(6):
        paths.append(folder / f"{number}.mp4")
        with ClipWriter(paths[-1], (160, 96), 10, 16_000) as writer:
            for frame in range(5):
                writer.add_frame(rng.integers(0, 255, (96, 160, 3), dtype=np.uint8), frame)
            writer.add_audio((0.1 * rng.standard_normal(8_000)).astype(np.float32))
    return paths


def peak_mb(inputs: list[Path], run: Path, table: Path) -> float:
    """Highest sum of resident memory of the command and its children, sampled 20 times a second.

    Pages that processes share (libraries) are counted in each of them, as `Rss` does; anonymous
    memory, which is what could grow, is counted once.
    """
    command = [sys.executable, "-P", "-m", "pipeline", "classify", *map(str, inputs)]
    process = subprocess.Popen(
        [*command, "--run", str(run), "--out", str(table)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(resident_bytes(pid) for pid in family(process.pid)))
        time.sleep(SAMPLE_EVERY_S)
    if process.returncode:
        raise SystemExit(f"classify ended with {process.returncode}")
    with table.open() as file:
        wrong = [line for line in list(file)[1:] if ",ok,," not in line]
    if wrong:
        raise SystemExit(f"not all was read: {wrong[0]}")
    return peak / 1e6


def family(pid: int) -> list[int]:
    """A process and its children, grandchildren …"""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return found


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


if __name__ == "__main__":
    main()
