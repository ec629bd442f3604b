"""The speed benchmark: framewave against the afternoon's code and against the floor.

    python benchmarks/compare.py FOLDER [--media DIR] [--out benchmarks/results.json] [--quick]

FOLDER receives generated videos and models. Everything is measured on the same files in one run,
in turn, and the medians and spreads go to the output file, which `page.py` turns into RESULTS.md
and the README's table. What is in the output file already is not measured again.

framewave is timed as people run it: the whole command, from start to exit. The afternoon's code is
timed by its loop alone, without its imports, on `most` of the files, and scaled to all of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import media

HERE = Path(__file__).resolve().parent
ENCODERS = {"efficientnet_lite2": 260, "efficientnet_lite0": 224}
DEFAULT, FAST = ENCODERS


@dataclass(frozen=True)
class Set:
    """A folder of videos, the model's training set, and how often it is measured."""

    name: str
    folder: Path
    labelled: Path
    rounds: int
    """With the default encoder; once with others."""
    most: int
    """Files on which the afternoon's code is timed."""
    encoders: tuple[str, ...] = (DEFAULT,)
    one_worker: bool = False
    has_floor: bool = True


class Results:
    """The output file, written after every measurement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        if key not in self.values:
            begun_s = time.monotonic()
            self.values[key] = measure()
            self._path.write_text(json.dumps(self.values, indent=1) + "\n")
            print(f"{key}: {self.values[key]} ({time.monotonic() - begun_s:.0f} s)", flush=True)
        return self.values[key]


def framewave(*arguments: object) -> dict[str, float]:
    """Run a command; wall-clock and processor seconds, and how busy the cores were."""
    command = [sys.executable, "-P", "-m", "pipeline", *map(str, arguments)]
    before, begun_s = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - begun_s, os.times()
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    busy = cpu_s / wall_s / (os.cpu_count() or 1)
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "busy": round(busy, 3)}


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def trained(root: Path, labelled: Path, encoder: str) -> Path:
    """A model trained on a labelled set, made once; beside it the same one for exact frames."""
    name = f"{labelled.name}-{labelled.parent.name}-{encoder}".replace(".csv", "")
    run, work = root / "runs" / name, root / "work" / name
    if not (run / "model.json").exists():
        setting = f"model.frame_encoder={encoder}"
        framewave("prep", labelled, "--work", work, setting)
        framewave("train", "--work", work, "--run", run, "train.max_epochs=40", setting)
    exact = run.with_name(f"{name}-exact")
    if not exact.exists():
        exact.mkdir()
        shutil.copy(run / "model.safetensors", exact)
        card = json.loads((run / "model.json").read_text())
        card["clip"]["frame_tolerance_s"] = 0.0
        (exact / "model.json").write_text(json.dumps(card))
    return run


def read_table(path: Path) -> dict[str, dict[str, float]]:
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


def measure_round(root: Path, of: Set, run: Path, with_one: bool) -> dict[str, Any]:
    """One round: the afternoon's code, framewave at the default promise, framewave exact."""
    answers = root / "afternoon.json"
    script("afternoon.py", run, of.folder, answers, "--most", of.most)
    afternoon = json.loads(answers.read_text())
    n_files = sum(1 for _ in of.folder.rglob("*.mp4"))
    scale = n_files / len(afternoon["clips"])
    result: dict[str, Any] = {
        "files": n_files,
        "media_s": round(afternoon["media_s"] * scale, 1),
        "afternoon_s": round(afternoon["loop_s"] * scale, 2),
    }
    workers = (("", ()), ("_one_worker", ("classify.workers=1",)))
    for promise, folder in (("default", run), ("exact", run.with_name(f"{run.name}-exact"))):
        for suffix, settings in workers[: 2 if with_one else 1]:
            table = root / "table.csv"
            for leftover in root.glob("table.csv*"):
                leftover.unlink()
            took = framewave(
                "classify", of.folder, "--run", folder, "--out", table, "device=cpu", *settings
            )
            result[promise + suffix] = took
        result[f"{promise}_labels"] = agreement(read_table(table), afternoon["clips"])
    return result


def floor(of: Set, encoder: str, exact: bool) -> dict[str, Any]:
    text = script(
        "floor.py", of.folder, "--encoder", encoder, "--side", ENCODERS[encoder],
        "--sample", 2 if of.labelled.is_dir() else 8, *(["--exact"] if exact else []),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}


def sets(root: Path, shared: Path | None, quick: bool) -> list[Set]:
    """Generated kinds, then the real ones where they are at hand."""
    labelled = media.make(root / "labelled", media.KINDS[2], 16)
    found = []
    for kind in media.KINDS:
        folder = media.make(root / "videos", kind, 6 if quick else 20)
        main = kind.b_frames and kind.height_px == 720
        encoders = (DEFAULT, FAST) if main else (DEFAULT,)
        found.append(
            Set(kind.name, folder, labelled, 3 if main and not quick else 1, 6, encoders,
                kind.b_frames, kind.b_frames)
        )  # fmt: skip
    for name, most in (("falls", 23), ("flying", 20)):
        if shared is not None and (shared / name).is_dir():
            table = shared / name / "labels.csv"
            found.append(Set(name, shared / name, table, 1 if quick else 3, most, (DEFAULT, FAST)))
    return sorted(found, key=lambda of: (-of.rounds, of.name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--media", type=Path, help="folder with falls/ and flying/")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--only", nargs="*", help="names of sets; the others are left out")
    asked = parser.parse_args()
    root: Path = asked.folder.resolve()
    shared: Path | None = asked.media.resolve() if asked.media else None
    root.mkdir(parents=True, exist_ok=True)
    results = Results(asked.out)
    results.once("machine", lambda: {
        "date": datetime.now(UTC).date().isoformat(), "system": platform.platform(),
        "processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version(),
    })  # fmt: skip
    todo = sets(root, shared, asked.quick)
    todo = [of for of in todo if not asked.only or of.name in asked.only]
    for of in todo:
        for encoder in of.encoders:
            run = trained(root, of.labelled, encoder)
            for number in range(of.rounds if encoder == DEFAULT else 1):
                results.once(
                    f"{of.name}/{encoder}/round{number}",
                    lambda of=of, run=run, number=number: measure_round(
                        root, of, run, of.one_worker and number == 0
                    ),
                )
            for promise in ("default", "exact") if encoder == DEFAULT and of.has_floor else ():
                results.once(
                    f"{of.name}/{encoder}/floor/{promise}",
                    lambda of=of, encoder=encoder, promise=promise: floor(
                        of, encoder, promise == "exact"
                    ),
                )
    results.once("many", lambda: many(root, todo, 24 if asked.quick else 200))
    results.once("start", lambda: start_up(root, todo))
    results.once("training", lambda: json.loads(script("training.py", root / "work")))
    results.once("decoding", lambda: decoding(root, todo))
    results.once("where", lambda: where(root, todo))
    for encoder in ENCODERS:
        results.once(f"tried/{encoder}", lambda encoder=encoder: tried(encoder))
    results.once("memory", lambda: memory(root, todo))
    for of in todo:
        if not of.labelled.is_dir():
            run = trained(root, of.labelled, DEFAULT)
            results.once(
                f"precision/{of.name}",
                lambda of=of, run=run: json.loads(
                    script("precision.py", run, of.folder, "--most", 40)
                ),
            )


def many(root: Path, todo: list[Set], n_files: int) -> dict[str, Any]:
    """A folder of 200 files against its floor."""
    of = named(todo, "720p-key1s-b")
    folder = media.make(root / "many", media.KINDS[2], n_files)
    whole = Set("many", folder, of.labelled, 1, 6)
    run = trained(root, of.labelled, DEFAULT)
    return {
        "framewave": [
            framewave("classify", folder, "--run", run, "--out", _fresh(root), "device=cpu")
            for _ in range(2)
        ],
        "floor": floor(whole, DEFAULT, exact=False),
    }


def named(todo: list[Set], name: str) -> Set:
    return next(of for of in todo if of.name == name)


def decoding(root: Path, todo: list[Set]) -> dict[str, Any]:
    """One file of each generated kind and two of each real set, way by way."""
    found = {}
    for of in todo:
        files = sorted(of.folder.rglob("*.mp4"))
        files = files[:1] if of.labelled.is_dir() else files[:: max(1, len(files) // 2)][:2]
        for number, path in enumerate(files):
            (rows,) = json.loads(script("decoding.py", path)).values()
            found[of.name if of.labelled.is_dir() else f"{of.name} {number}"] = rows
    return found


def where(root: Path, todo: list[Set]) -> list[dict[str, Any]]:
    """Where the time goes: most of it spent on decoding, and most of it on the CNN."""
    found = []
    for name in ("1080p-key10s-b", "720p-key1s-b", "flying"):
        if any(of.name == name for of in todo):
            of = named(todo, name)
            run = trained(root, of.labelled, DEFAULT)
            found.append({"videos": name, **json.loads(script("where.py", run, of.folder))})
    return found


def tried(encoder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(script("tried.py", encoder))[encoder]
    return found


def memory(root: Path, todo: list[Set]) -> str:
    of = named(todo, "720p-key1s-b")
    return script("memory.py", "--run", trained(root, of.labelled, DEFAULT), "--quick")


def _fresh(root: Path) -> Path:
    for leftover in root.glob("fresh.csv*"):
        leftover.unlink()
    return root / "fresh.csv"


def start_up(root: Path, todo: list[Set]) -> dict[str, Any]:
    """--help, and the time until the first row of a table is written."""
    of = named(todo, "720p-key1s-b")
    run = trained(root, of.labelled, DEFAULT)
    helps = [framewave("--help")["wall_s"] for _ in range(5)]
    firsts = []
    for _ in range(3):
        table = _fresh(root)
        journal = Path(f"{table}.journal")
        command = [sys.executable, "-P", "-m", "pipeline", "classify", of.folder, "--run", run,
                   "--out", table, "device=cpu"]  # fmt: skip
        begun_s = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            if process.poll() is not None:
                raise SystemExit(f"{command} ended without a row")
            time.sleep(0.01)
        firsts.append(round(time.perf_counter() - begun_s, 2))
        process.wait()
    return {"help_s": statistics.median(helps), "first_row_s": firsts}


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


if __name__ == "__main__":
    main()
