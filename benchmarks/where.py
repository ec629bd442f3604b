"""Where the time goes while a folder is classified.

    python benchmarks/where.py RUN FOLDER [key=value …]

Processor seconds of every kind of thread (Linux): decoding processes, the CNN's threads, the main
thread, and the one that loads torch; beside them what the wall clock and all cores could have done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from pipeline.checkpoints.model_card import read_description

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


def threads(pid: int) -> dict[tuple[int, int], tuple[bool, float]]:
    """{(process, thread): (is it a decoding process, processor seconds)}."""
    found = {}
    for process in children(pid):
        decodes = b"data_prep.worker.worker" in Path(f"/proc/{process}/cmdline").read_bytes()
        for task in Path(f"/proc/{process}/task").glob("*"):
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            spent_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            found[process, int(task.name)] = (decodes, spent_s)
    return found


def main() -> None:
    run, folder, *settings = sys.argv[1:]
    seen: dict[tuple[int, int], tuple[bool, float]] = {}
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-P", "-m", "pipeline", "classify", folder, "--run", run,
                   "--out", f"{out}/p.csv", "device=cpu", *settings]  # fmt: skip
        begun_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            with suppress(FileNotFoundError, ProcessLookupError):  # one ended meanwhile
                for key, (decodes, spent_s) in threads(process.pid).items():
                    # one that has just ended has no command line any more
                    seen[key] = (decodes or seen.get(key, (False, 0.0))[0], spent_s)
            time.sleep(0.1)
        wall_s = time.perf_counter() - begun_s
    card = read_description(Path(run)).card
    encoders = int(card.uses_video) + int(card.uses_spectrograms)
    streams = encoders * (os.cpu_count() or 1)  # the busiest threads; they have no names
    spent: dict[str, float] = defaultdict(float)
    own = sorted(
        (spent_s for (_, _), (decodes, spent_s) in seen.items() if not decodes), reverse=True
    )
    for (owner, thread), (decodes, spent_s) in seen.items():
        if decodes:
            spent["decoding processes"] += spent_s
        elif owner == thread:
            spent["main thread (judging, handing frames over)"] += spent_s
        elif spent_s in own[:streams]:
            spent["CNN"] += spent_s
        else:
            spent["other threads (loading torch, talking to decoders)"] += spent_s
    cores = os.cpu_count() or 1
    print(json.dumps({
        "folder": Path(folder).name, "wall_s": round(wall_s, 1),
        "cores_could_have_done_s": round(wall_s * cores, 1),
        **{name: round(value, 1) for name, value in sorted(spent.items())},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
