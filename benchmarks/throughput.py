"""How fast a folder is classified on this machine: make bench, or python benchmarks/throughput.py

Trains a throw-away model on generated clips, then classifies them with 1 and 2 decoding workers in
turn, three times each, and prints medians as ratios and as multiples of real time.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.demo_media import plan_labelled, write_clips

CLIPS, ROUNDS = 60, 3


def framewave(*arguments: object) -> float:
    """Wall-clock seconds of one command."""
    begun = time.perf_counter()
    command = [sys.executable, "-P", "-m", "pipeline", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, {CLIPS} clips, {ROUNDS} rounds")
    help_s = [framewave("--help") for _ in range(ROUNDS)]
    print(f"--help: {statistics.median(help_s):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = plan_labelled(root / "videos", CLIPS, seed=0)
        write_clips(clips)
        settings = ["--config", Path(__file__).parent.parent / "configs" / "demo.yaml"]
        prep_s = framewave("prep", root / "videos", "--work", root / "work", *settings)
        framewave("train", "--work", root / "work", "--run", root / "run", *settings,
                  "train.max_epochs=1")  # fmt: skip
        took: dict[int, list[float]] = {1: [], 2: []}
        for round_ in range(ROUNDS):
            for workers, times in took.items():
                out = root / f"{workers}_{round_}.csv"
                options = ("--run", root / "run", "--out", out, f"classify.workers={workers}")
                times.append(framewave("classify", root / "videos", *options))
        seconds = _total_seconds(root / "1_0.csv")
    one, two = (statistics.median(took[workers]) for workers in (1, 2))
    print(f"classify, 2 workers against 1: {one / two:.2f} times as fast (start-up included)")
    for workers, times in took.items():
        spread = f"{min(times):.1f}–{max(times):.1f} s"
        print(f"classify, {workers} workers: {seconds / statistics.median(times):.0f}× real time "
              f"({spread} for {seconds:.0f} s of video)")  # fmt: skip
    print(f"prep: {seconds / prep_s:.0f}× real time")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"peak memory of the largest process: {peak:.2f} GB")


def _total_seconds(table: Path) -> float:
    import csv

    with table.open() as file:
        return sum(float(row["duration_s"] or 0) for row in csv.DictReader(file))


if __name__ == "__main__":
    main()
