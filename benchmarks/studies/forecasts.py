"""Forecasts of videos with and without a rule, next to the baselines that know the true past.

    python benchmarks/studies/forecasts.py --out FOLDER [--seeds 3] [--rules cycle sound none]

Three kinds of videos are made (H.264 and AAC, 120 s each): in `cycle` the scenes follow a cycle
A B A C A D with a fixed length for each scene, so that the scene before the present one tells what
comes next; in `sound` a scene's last seconds are announced by a sound that names the next one; in
`none` scenes and lengths are drawn at random. Each is prepared with clip.causal=true and trained in
both forms with each seed; what is there is not run again. Writes benchmarks/studies/FORECASTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cli.demo import sound

RULES = ("cycle", "sound", "none")
FORMS = ("sequence_to_sequence", "sequence_to_vector")
SCENES = {"red": (200, 60, 60), "green": (60, 170, 70), "blue": (60, 80, 210)}
CYCLE = (("red", 4.0), ("green", 5.0), ("red", 4.0), ("blue", 6.0), ("green", 3.0), ("blue", 4.0))
ANNOUNCES = {"red": "bird", "green": "frog", "blue": "rain"}
ANNOUNCED_S = 4.0
N_TRAIN, N_VAL, N_TEST = 14, 2, 10
LENGTH_S, RATE_HZ, FRAME_RATE_HZ, SIZE_PX = 120.0, 16_000, Fraction(4), (96, 72)
RESULTS = Path(__file__).with_name("FORECASTS.md")


@dataclass(frozen=True)
class Part:
    """A scene of a video; announces: the sound of its last seconds, or None."""

    label: str
    start_s: float
    end_s: float
    announces: str | None


def schedule(rule: str, rng: np.random.Generator) -> list[Part]:
    """The scenes of one video."""
    parts: list[Part] = []
    at_s, place = 0.0, int(rng.integers(len(CYCLE)))
    label = str(rng.choice(list(SCENES)))
    while at_s < LENGTH_S:
        if rule == "cycle":
            label, length_s = CYCLE[place % len(CYCLE)]
            following = CYCLE[(place + 1) % len(CYCLE)][0]
        else:
            length_s = float(rng.integers(5, 13))
            following = str(rng.choice([name for name in SCENES if name != label]))
        end_s = min(LENGTH_S, at_s + length_s)
        announces = ANNOUNCES[following] if rule == "sound" else None
        parts.append(Part(label, at_s, end_s, announces))
        at_s, place, label = end_s, place + 1, following
    return parts


def write_video(job: tuple[Path, list[Part], int]) -> None:
    """Render and encode one video."""
    from data_prep.media.pyav_media import ClipWriter

    path, parts, seed = job
    rng = np.random.default_rng(seed)
    wave = rng.normal(0, 0.004, int(LENGTH_S * RATE_HZ)).astype(np.float32)
    for part in parts:
        if part.announces is not None:
            begin_s = max(part.start_s, part.end_s - ANNOUNCED_S)
            call = sound(part.announces, part.end_s - begin_s, rng)
            wave[int(begin_s * RATE_HZ) :][: call.size] += call
    width, height = SIZE_PX
    with ClipWriter(path, SIZE_PX, FRAME_RATE_HZ, RATE_HZ, {"qp": "28"}) as writer:
        current = 0
        for number in range(int(LENGTH_S * FRAME_RATE_HZ)):
            at_s = number / float(FRAME_RATE_HZ)
            while parts[current].end_s <= at_s:
                current += 1
            noise = rng.normal(0, 12, (height // 8, width // 8, 1)).repeat(8, 0).repeat(8, 1)
            picture = np.clip(np.array(SCENES[parts[current].label]) + noise, 0, 255)
            writer.add_frame(picture.astype(np.uint8), number, key_frame=number % 20 == 0)
        writer.add_audio(wave)


def make_videos(folder: Path, rule: str) -> Path:
    """The videos of a rule and their labels, unless they are there."""
    table = folder / "labels.csv"
    if table.exists():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(RULES.index(rule))
    jobs, lines = [], []
    splits = ["train"] * N_TRAIN + ["val"] * N_VAL + ["test"] * N_TEST
    for number, split in enumerate(splits):
        parts = schedule(rule, rng)
        path = folder / f"{split}_{number:02d}.mp4"
        jobs.append((path, parts, int(rng.integers(2**31))))
        lines += [
            [path.name, part.start_s, part.end_s, part.label, split, path.stem] for part in parts
        ]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_video, jobs))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["path", "start_s", "end_s", "label", "split", "group"], *lines]
        )
    return table


def framewave(*arguments: str, done: Path) -> None:
    """Run one command, unless `done`, which it makes, is there."""
    if done.exists():
        return
    print("+ framewave", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "pipeline", *arguments], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def processor() -> str:
    """Name of the processor, as the kernel gives it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if (
        info.exists()) else []  # fmt: skip
    return names[0].partition(":")[2].strip() if names else platform.processor()


def rows_of(rule: str, form: str, seed: int, metrics: dict[str, Any]) -> list[str]:
    """The model's row of a table, and its skill by horizon."""
    best = metrics["baselines"]["best_baseline"]["by_horizon"]
    accuracies = [f"{100 * row['accuracy']:.1f}" for row in metrics["by_horizon"]]
    others = [f"{100 * row['accuracy']:.1f}" for row in best]
    skill = [
        f"{100 * (row['difference']['low'] or 0):+.1f}…{100 * (row['difference']['high'] or 0):+.1f}"
        for row in best
    ]
    return [
        f"| {rule} | {form} | {seed} | model | {' | '.join(accuracies)} |",
        f"| | | | best baseline | {' | '.join(others)} |",
        f"| | | | interval of the skill | {' | '.join(skill)} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    options = parser.parse_args()
    lines = []
    for rule in options.rules:
        folder = options.out / rule
        table = make_videos(folder / "videos", rule)
        work = folder / "work"
        framewave("prep", str(table), "--work", str(work), "task=forecast", "clip.causal=true",
                  "model.frame_encoder=efficientnet_lite0", done=work / "features")  # fmt: skip
        for form in FORMS:
            for seed in range(options.seeds):
                run = folder / f"{form}_{seed}"
                framewave("train", "--work", str(work), "--run", str(run), f"task.form={form}",
                          f"train.seed={seed}", done=run / "model.json")  # fmt: skip
                framewave("eval", "--run", str(run), "--no-audit", done=run / "eval/metrics.json")
                metrics = json.loads((run / "eval" / "metrics.json").read_text())
                lines += rows_of(rule, form.replace("_", "-"), seed, metrics)
                print("\n".join(lines[-3:]), flush=True)
    head = " | ".join(str(h) for h in range(1, 8))
    text = [
        "# Forecasts with and without a rule", "",
        f"Made by `python benchmarks/studies/forecasts.py --out FOLDER --seeds {options.seeds}` on "
        f"{processor()} ({os.cpu_count()} cores). Accuracy in percent by steps ahead (1 s each), "
        f"on {N_TEST} test videos; the best baseline of each horizon is chosen on these same "
        "videos, and knows the true labels up to each step. Interval: 95 %, by video.", "",
        f"| rule | form | seed | | {head} |", f"|{'---|' * 11}", *lines,
    ]  # fmt: skip
    RESULTS.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
