"""Networks of a crossval side by side against one after the other:
python benchmarks/side_by_side.py WORK [ROUNDS]

Each round runs the same crossval (of a work folder: run `framewave demo` and give demo/work) with
crossval.workers=1 and with as many as there are cores, quiet and then with one program of matrix
products for each core at work. What it takes is wall-clock seconds of the whole command, baselines
and report included; ratios are of one round.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from busy import loaded
from runs import framewave


def crossval_s(work: Path, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        setting = f"crossval.workers={workers}"
        return framewave("crossval", "--work", work, "--run", run, setting)["wall_s"]


def main() -> None:
    work = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    n_cores = len(os.sched_getaffinity(0))
    found: dict[str, list[dict[str, float]]] = {"quiet": [], "busy": []}
    for _ in range(rounds):
        for state, load in (("quiet", nullcontext()), ("busy", loaded(n_cores))):
            with load:
                one_s, all_s = crossval_s(work, 1), crossval_s(work, n_cores)
            round_ = {"one_after_the_other_s": one_s, "side_by_side_s": all_s}
            found[state].append(round_ | {"ratio": one_s / all_s})
    medians = {
        state: statistics.median(each["ratio"] for each in rounds_)
        for state, rounds_ in found.items()
    }
    print(json.dumps({"cores": n_cores, "rounds": found, "ratios": medians}, indent=1))


if __name__ == "__main__":
    main()
