"""Compares two checkouts of framewave: a restructured one must give what the one before gave.

    python benchmarks/behaviour.py BEFORE AFTER --media MEDIA --folder FOLDER

BEFORE and AFTER are checkouts; both run in the environment of this Python, one after the other, on
this machine. Each prepares falls/, flying/ and sounds/ of MEDIA, trains, cross-validates and
evaluates with fixed seeds; the values of every metrics.json must be equal. Then both classify all
folders of MEDIA with the model that BEFORE trained; the tables must be equal to the byte. AFTER
also evaluates a run folder that BEFORE wrote. What is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SEEDED = ("train.seed=3", "split.seed=1")
FEW_EPOCHS = ("train.max_epochs=4", *SEEDED)
FOLDERS = ("falls", "flying", "odd", "sounds")
NOT_METRICS = {"model", "reproduction"}
"""Of metrics.json: how it was made, which names the checkout's commands and versions."""


def framewave(checkout: Path, *arguments: str, done: Path | None = None) -> None:
    """Run one command of a checkout; `done` is what it makes, and is not made twice."""
    if done and done.exists():
        return
    print("+", checkout.name, *arguments, flush=True)
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "pipeline", *arguments]
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")


def run_all(checkout: Path, media: Path, out: Path) -> None:
    """Everything that is compared, except classification."""
    for name, more in (
        ("falls", ()),
        ("flying", ()),
        ("sounds", ("model.audio_front_end=log_mel",)),
    ):
        work = f"{out}/{name}.work"
        data = str(media / name / "labels.csv")
        framewave(checkout, "prep", data, "--work", work, *more)
        run = out / f"{name}.run"
        framewave(checkout, "train", "--work", work, "--run", str(run), *FEW_EPOCHS, *more,
                  done=run / "model.json")  # fmt: skip
        framewave(checkout, "eval", "--run", str(run), done=run / "eval/metrics.json")
        folds = out / f"{name}.folds"
        framewave(checkout, "crossval", "--work", work, "--run", str(folds), *FEW_EPOCHS, *more,
                  "crossval.folds=3", done=folds / "eval/metrics.json")  # fmt: skip


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Where two values of JSON differ, as lines; what says how they were made is passed over."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = (before.keys() | after.keys()) - NOT_METRICS
        lines = [f"{where}.{key}: only in one" for key in keys if (key in before) != (key in after)]
        for key in keys & before.keys() & after.keys():
            lines += differences(before[key], after[key], f"{where}.{key}")
        return lines
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [
            line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{where}[{i}]")
        ]
    return [] if before == after else [f"{where}: {str(before)[:80]} became {str(after)[:80]}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    media, folder = args.media.resolve(), args.folder.resolve()
    builds = {name: (getattr(args, name).resolve(), folder / name) for name in ("before", "after")}
    trained = folder / "before/falls.run"
    for checkout, out in builds.values():
        run_all(checkout, media, out)
        table = out / "predictions.csv"
        framewave(checkout, "classify", *(str(media / name) for name in FOLDERS), "--run",
                  str(trained), "--out", str(table), done=table)  # fmt: skip
    again = folder / "again"
    old_run, data = str(folder / "before/flying.folds"), str(media / "flying/labels.csv")
    framewave(builds["after"][0], "eval", "--run", old_run, "--data", data, "--out", str(again),
              done=again / "metrics.json")  # fmt: skip
    found = []
    for name in ("falls", "flying", "sounds"):
        for kind in ("run", "folds"):
            metrics = [
                json.loads((out / f"{name}.{kind}/eval/metrics.json").read_text())
                for _, out in builds.values()
            ]
            lines = differences(*metrics)
            print(f"{name}.{kind}: n {metrics[0]['n']}, accuracy {metrics[0]['accuracy']}; "
                  f"{len(lines)} values differ", *lines[:10], sep="\n    ")  # fmt: skip
            found += lines
    tables = [(out / "predictions.csv").read_bytes() for _, out in builds.values()]
    equal = "equal to the byte" if tables[0] == tables[1] else "DIFFERENT"
    print(f"predictions.csv: {len(tables[0].splitlines()) - 1} rows, {equal}")
    raise SystemExit(1 if found or tables[0] != tables[1] else 0)


if __name__ == "__main__":
    main()
