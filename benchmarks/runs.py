"""What the benchmark scripts share: running commands, keeping results, trained runs."""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PRESETS = {
    "efficientnet_lite2": HERE.parent / "configs" / "default.yaml",
    "efficientnet_lite0": HERE.parent / "configs" / "fast.yaml",
}


class Results:
    """The output file, written after every measurement, with the day and commit of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._commit = commit()

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        """What is in the file under this key; measured and put there if it is not."""
        if key not in self.values:
            begun_s = time.monotonic()
            self.values[key] = measure()
            day = datetime.now(UTC).date().isoformat()
            self.values.setdefault("measured", {})[key] = f"{day} at {self._commit}"
            self._path.write_text(json.dumps(self.values, indent=1) + "\n")
            print(f"{key}: {self.values[key]} ({time.monotonic() - begun_s:.0f} s)", flush=True)
        return self.values[key]


@cache
def commit() -> str:
    """The commit that is measured, and whether files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    )
    return told.stdout.strip() or "no commit"


commit()  # as it is when measuring begins: the code is loaded then, and may go on changing


def timed(*command: object, on_one_core: bool = False) -> dict[str, float]:
    """Run a command; wall-clock and processor seconds, and how busy the cores were."""
    words = ["taskset", "-c", "0"] * on_one_core + [str(word) for word in command]
    before, begun_s = os.times(), time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - begun_s, os.times()
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    busy = cpu_s / wall_s / (os.cpu_count() or 1)
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "busy": round(busy, 3)}


def framewave(*arguments: object, on_one_core: bool = False) -> dict[str, float]:
    """A framewave command as people run it, from start to exit; see `timed`."""
    return timed(sys.executable, "-P", "-m", "pipeline", *arguments, on_one_core=on_one_core)


def classify(
    folder: Path, run: Path, table: Path, *settings: str, on_one_core: bool = False
) -> dict[str, float]:
    """framewave classify on the processor, into a fresh table; see `timed`."""
    return framewave(
        "classify", folder, "--run", run, "--out", fresh(table), "device=cpu", *settings,
        on_one_core=on_one_core,
    )  # fmt: skip


def fresh(table: Path) -> Path:
    """The path of a table of which nothing is there yet."""
    for leftover in table.parent.glob(f"{table.name}*"):
        leftover.unlink()
    return table


def script(name: str, *arguments: object) -> str:
    """What a script of this folder prints."""
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def figures(name: str, *arguments: object) -> Any:
    """The JSON that a script of this folder prints last; libraries may have talked before."""
    return json.loads(script(name, *arguments).strip().splitlines()[-1])


def trained(root: Path, labelled: Path, encoder: str) -> Path:
    """A model trained on a labelled set, made once; beside it the same one for exact frames."""
    name = f"{labelled.name}-{labelled.parent.name}-{encoder}".replace(".csv", "")
    run, work = root / "runs" / name, root / "work" / name
    if not (run / "model.json").exists():
        preset = ["--config", PRESETS[encoder]]
        framewave("prep", labelled, "--work", work, *preset)
        framewave("train", "--work", work, "--run", run, *preset)
    exact = exact_of(run)
    if not exact.exists():
        exact.mkdir()
        shutil.copy(run / "model.safetensors", exact)
        card = json.loads((run / "model.json").read_text())
        card["clip"]["frame_tolerance_s"] = 0.0
        (exact / "model.json").write_text(json.dumps(card))
    return run


def exact_of(run: Path) -> Path:
    return run.with_name(f"{run.name}-exact")


def read_table(path: Path) -> dict[str, dict[str, float]]:
    """{path of a clip: {label: probability}}, without rows that have none."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["path"]: {k[2:]: float(v) for k, v in row.items() if k.startswith("p_")}
        for row in rows
        if row["predicted"]
    }


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Share of clips with the same label, and the largest difference of a probability."""
    same, worst = 0, 0.0
    for path, chances in theirs.items():
        own = ours[path]
        same += max(own, key=lambda k: own[k]) == max(chances, key=lambda k: chances[k])
        worst = max(worst, *(abs(own[label] - chances[label]) for label in chances))
    return {"clips": len(theirs), "same_label": same / len(theirs), "worst": round(worst, 4)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(), "processor": _processor(), "cores": os.cpu_count(),
        "python": platform.python_version(),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    vector = [
        f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f in flags
    ]
    return f"{names[0] if names else platform.processor()} ({', '.join(vector)})"
