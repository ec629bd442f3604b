"""The speed benchmark: framewave against the afternoon's code and against the floor.

    python benchmarks/compare.py FOLDER [--media DIR] [--out benchmarks/results.json] [--quick]

FOLDER receives generated videos and models. Everything is measured on the same files in one run,
in turn, and the medians and spreads go to the output file, which `page.py` turns into RESULTS.md
and the README's table. What is in the output file already is not measured again.

Both are timed as people run them: the whole command, from start to exit. The afternoon's code works
on `most` of the files, and its loop is scaled to all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import media
from runs import (
    HERE,
    Results,
    agreement,
    classify,
    exact_of,
    figures,
    framewave,
    fresh,
    machine,
    read_table,
    script,
    timed,
    trained,
)

from pipeline.features.backend import has_bfloat16

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

    def trained(self, root: Path, encoder: str) -> Path:
        return trained(root, self.labelled, encoder)


def measure_round(root: Path, of: Set, run: Path, with_one: bool) -> dict[str, Any]:
    """One round: the afternoon's code, framewave at the default promise, framewave exact."""
    answers = root / "afternoon.json"
    command = (sys.executable, HERE / "afternoon.py", run, of.folder, answers, "--most", of.most)
    whole_s = timed(*command)["wall_s"]
    afternoon = json.loads(answers.read_text())
    n_files = sum(1 for _ in of.folder.rglob("*.mp4"))
    scale = n_files / len(afternoon["clips"])
    loop_s = afternoon["loop_s"] * scale
    result: dict[str, Any] = {
        "files": n_files,
        "media_s": round(afternoon["media_s"] * scale, 1),
        "afternoon_s": round(loop_s + whole_s - afternoon["loop_s"], 2),
        "afternoon_loop_s": round(loop_s, 2),
    }
    table = root / "table.csv"
    for promise, folder in (("default", run), ("exact", exact_of(run))):
        result[promise] = classify(of.folder, folder, table)
        result[f"{promise}_labels"] = agreement(read_table(table), afternoon["clips"])
        if with_one:
            one = classify(of.folder, folder, table, "classify.workers=1")
            result[f"{promise}_one_worker"] = one
    return result


def floor(of: Set, encoder: str, exact: bool) -> dict[str, Any]:
    found: dict[str, Any] = figures(
        "floor.py", of.folder, "--encoder", encoder, "--side", ENCODERS[encoder],
        "--sample", 2 if of.labelled.is_dir() else 8, *(["--exact"] if exact else []),
        *(["--hears"] if encoder == DEFAULT else []),
    )  # fmt: skip
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}


def sets(root: Path, shared: Path | None, quick: bool) -> list[Set]:
    """Generated kinds, then the real ones where they are at hand."""
    labelled = media.make(root / "labelled", media.KINDS[2], 16)
    found = []
    for kind in media.KINDS:
        main = kind.b_frames and kind.height_px == 720
        decodes_much = kind.b_frames and kind.key_every_s == 10
        folder = media.make(root / "videos", kind, 6 if quick else 40 if main else 16)
        encoders = (DEFAULT, FAST) if main or decodes_much else (DEFAULT,)
        found.append(
            Set(kind.name, folder, labelled, 3 if main and not quick else 1, 6, encoders,
                decodes_much, main or decodes_much)
        )  # fmt: skip
    for name, most in (("falls", 23), ("flying", 20)):
        if shared is not None and (shared / name).is_dir():
            table = shared / name / "labels.csv"
            found.append(Set(name, shared / name, table, 1 if quick else 3, most, (DEFAULT, FAST)))
    return sorted(found, key=lambda of: (-of.rounds, of.name))


def measure_set(results: Results, root: Path, of: Set) -> None:
    """Its rounds with every encoder, and its floors."""
    for encoder in of.encoders:
        run = of.trained(root, encoder)
        for number in range(of.rounds if encoder == DEFAULT else 1):
            results.once(
                f"{of.name}/{encoder}/round{number}",
                lambda run=run, number=number: measure_round(
                    root, of, run, of.one_worker and number == 0
                ),
            )
        for promise in ("default", "exact") if of.has_floor else ():
            results.once(
                f"{of.name}/{encoder}/floor/{promise}",
                lambda encoder=encoder, promise=promise: floor(of, encoder, promise == "exact"),
            )


def all_labels(root: Path, of: Set, encoder: str) -> dict[str, Any]:
    """Labels of every file of a set against the afternoon's, at the default promise and exact."""
    run, answers, table = of.trained(root, encoder), root / "afternoon.json", root / "table.csv"
    script("afternoon.py", run, of.folder, answers)
    theirs = json.loads(answers.read_text())["clips"]
    found = {}
    for promise, folder in (("default", run), ("exact", exact_of(run))):
        classify(of.folder, folder, table)
        found[promise] = agreement(read_table(table), theirs)
    return found


def scaling(root: Path, of: Set) -> dict[str, Any]:
    """All cores against one: exact frames and the fast preset, so that decoding dominates."""
    run = exact_of(of.trained(root, FAST))
    return {
        "one_core": classify(of.folder, run, root / "table.csv", on_one_core=True),
        "all_cores": classify(of.folder, run, root / "table.csv"),
    }


def many(root: Path, of: Set, n_files: int) -> dict[str, Any]:
    """A large folder against its floor."""
    folder = media.make(root / "many", media.KINDS[2], n_files)
    run = of.trained(root, DEFAULT)
    whole = Set("many", folder, of.labelled, 1, 6)
    return {
        "framewave": [classify(folder, run, root / "table.csv") for _ in range(2)],
        "floor": floor(whole, DEFAULT, exact=False),
    }


def start_up(root: Path, of: Set) -> dict[str, Any]:
    """--help, and the time until the first row of a table is written."""
    run = of.trained(root, DEFAULT)
    helps = [framewave("--help")["wall_s"] for _ in range(5)]
    firsts = []
    for _ in range(5):
        table = fresh(root / "table.csv")
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


def decoding(todo: list[Set]) -> dict[str, Any]:
    """One file of each generated kind and two of each real set, way by way."""
    found = {}
    for of in todo:
        files = sorted(of.folder.rglob("*.mp4"))
        files = files[:1] if of.labelled.is_dir() else files[:: max(1, len(files) // 2)][:2]
        for number, path in enumerate(files):
            (rows,) = figures("decoding.py", path).values()
            found[of.name if of.labelled.is_dir() else f"{of.name} {number}"] = rows
    return found


def measure_all(
    results: Results, root: Path, todo: list[Set], shared: Path | None, quick: bool
) -> None:
    """Every measurement that is not in the results yet."""
    for of in todo:
        measure_set(results, root, of)
    by_name = {of.name: of for of in todo}
    few = 10 if quick else 40
    most = 400 if has_bfloat16() and not quick else few  # without it, torch makes do, slowly
    if usual := by_name.get("720p-key1s-b"):
        run = usual.trained(root, DEFAULT)
        results.once("many", lambda: many(root, usual, 24 if quick else 200))
        results.once("start", lambda: start_up(root, usual))
    for name in sorted({"1080p-key10s-b", "720p-key1s-b", "flying", "falls"} & by_name.keys()):
        of = by_name[name]
        run = of.trained(root, DEFAULT)
        results.once(
            f"where/{name}",
            lambda of=of, run=run: figures("where.py", run, of.folder),
        )
    if slowest := by_name.get("1080p-key10s-b"):
        results.once("scaling", lambda: scaling(root, slowest))
    results.once("training", lambda: figures("training.py", root / "work"))
    results.once("decoding", lambda: decoding(todo))
    for encoder in ENCODERS:
        results.once(
            f"tried/{encoder}",
            lambda encoder=encoder: figures("tried.py", encoder)[encoder],
        )
    for name in sorted({"falls", "flying"} & by_name.keys()):
        of = by_name[name]
        for encoder in ENCODERS:
            results.once(
                f"labels/{name}/{encoder}",
                lambda of=of, encoder=encoder: all_labels(root, of, encoder),
            )
        results.once(
            f"precision/{name}/float16",
            lambda of=of: in_16_bits(root, of.folder, of.labelled, "float16", few),
        )
        results.once(
            f"precision/{name}/bfloat16",
            lambda of=of: in_16_bits(root, of.folder, of.labelled, "bfloat16", most),
        )
    if shared and (shared / "sounds").is_dir():
        heard = shared / "sounds"
        results.once(
            "precision/sounds/bfloat16",
            lambda: in_16_bits(root, heard, heard, "bfloat16", most),
        )
    if usual:
        run = usual.trained(root, DEFAULT)
        results.once("memory", lambda: script("memory.py", "--run", run, "--quick"))


def in_16_bits(root: Path, folder: Path, labelled: Path, precision: str, most: int) -> Any:
    """Labels with 16-bit features of the default encoder against those with float32."""
    run = trained(root, labelled, DEFAULT)
    return figures("precision.py", run, folder, precision, "--most", most)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--media", type=Path, help="folder with falls/, flying/ and sounds/")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--only", nargs="*", help="names of sets; the others are left out")
    asked = parser.parse_args()
    root: Path = asked.folder.resolve()
    root.mkdir(parents=True, exist_ok=True)
    results = Results(asked.out)
    results.once("machine", machine)
    shared = asked.media.resolve() if asked.media else None
    todo = sets(root, shared, asked.quick)
    todo = [of for of in todo if not asked.only or of.name in asked.only]
    measure_all(results, root, todo, shared, asked.quick)


if __name__ == "__main__":
    main()
