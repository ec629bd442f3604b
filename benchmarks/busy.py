"""Training beside other programs against training alone: python benchmarks/busy.py WORK [ROUNDS]

Each round trains the same work folder (run `framewave demo` and give demo/work) with the machine
quiet, then with one program of matrix products for each core at work. What it takes is wall-clock
seconds of the whole command; ratios are of one round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runs import framewave

_LOAD = "import numpy as n\na = n.ones((600, 600), 'f')\nwhile True: a @ a"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def loaded(n_programs: int) -> Iterator[None]:
    """As many programs that never wait."""
    command = [sys.executable, "-c", _LOAD]
    programs = [subprocess.Popen(command, env=os.environ | _ONE_THREAD) for _ in range(n_programs)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def training_s(work: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        return framewave("train", "--work", work, "--run", run)["wall_s"]


def main() -> None:
    work = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    n_cores = len(os.sched_getaffinity(0))
    quiet_s, busy_s = [], []
    for _ in range(rounds):
        quiet_s.append(training_s(work))
        with loaded(n_cores):
            busy_s.append(training_s(work))
    ratios = [busy / quiet for busy, quiet in zip(busy_s, quiet_s, strict=True)]
    print(json.dumps({
        "cores": n_cores, "quiet_s": quiet_s, "busy_s": busy_s, "ratios": ratios,
        "ratio": statistics.median(ratios),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
