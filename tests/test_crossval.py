"""What folds decide for each other.

crossval through the real command line: every clip once, no group in two folds, resumes.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.manifest import read_manifest
from tests.conftest import SETTINGS, framewave

pytestmark = pytest.mark.end_to_end
FEW = [*SETTINGS, "crossval.folds=3", "crossval.seeds=2"]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(journey, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crossval") / "run"
    framewave("crossval", "--work", journey.work, "--run", folder, *FEW)
    return folder


def test_every_labelled_file_has_one_row_and_no_group_two_folds(journey, run) -> None:
    rows = rows_of(run / "out_of_fold.csv")
    labelled = [row for row in read_manifest(journey.work / "manifest.csv") if row.label]
    assert sorted(row["path"] for row in rows) == sorted(row.path for row in labelled)
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(names) == 1 for names in folds.values())
    assert len({row["fold"] for row in rows}) == 3


def test_the_summary_is_that_of_the_table(run) -> None:
    summary = json.loads((run / "crossval.json").read_text())
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    rows = rows_of(run / "out_of_fold.csv")
    right = np.mean([row["predicted"] == row["label"] for row in rows])
    assert metrics["accuracy"] == pytest.approx(right)
    assert metrics["evaluated_on"] == "out of fold"
    assert metrics["baselines"] == summary["baselines"]
    gain = summary["baselines"]["majority"]["difference"]["mean"]
    assert right - summary["baselines"]["majority"]["accuracy"] == pytest.approx(gain)
    assert len(summary["accuracy_per_seed"]) == 2
    assert summary["accuracy_mean"] == pytest.approx(np.mean(summary["accuracy_per_seed"]))
    assert (
        "predicted by networks that were not trained on its fold"
        in (run / "eval" / "report.html").read_text()
    )


def test_an_unfinished_crossval_is_not_judged_on_clips_it_was_trained_on(run, tmp_path) -> None:
    unfinished = tmp_path / "run"
    shutil.copytree(run, unfinished)
    (unfinished / "crossval.json").unlink()
    done = framewave("eval", "--run", unfinished, check=False)
    assert done.returncode == 2
    assert "is a crossval that has not finished" in " ".join(done.stderr.split())


def test_its_model_is_judged_on_other_clips_beside_baselines(journey, run, tmp_path) -> None:
    framewave("eval", "--run", run, "--data", journey.data, "--out", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "logistic_mean" in metrics["baselines"]
    difference = metrics["baselines"]["majority"]["difference"]
    assert difference["n_groups"] == metrics["n"]  # no group is known: each file is its own
    assert difference["low"] < difference["mean"] < difference["high"]


def test_its_model_classifies_with_both_seeds_and_its_temperature(journey, run, tmp_path) -> None:
    card = json.loads((run / "model.json").read_text())
    assert card["members"] == 2
    assert card["temperatures"] == json.loads((run / "crossval.json").read_text())["temperatures"]
    framewave("classify", journey.new, "--run", run, "--out", tmp_path / "p.csv")
    assert {row["status"] for row in rows_of(tmp_path / "p.csv")} > {"ok"}


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("no list of a process's children here")
    found = [int(child) for child in listed.read_text().split()]
    assert found
    return found


def is_alive(pid: int) -> bool:
    """Not one that has ended and waits for somebody to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    """A worker that outlived its parent would write into the folder of the next one."""
    deadline_s = time.monotonic() + 60
    for pid in pids:
        while is_alive(pid):
            assert time.monotonic() < deadline_s, f"process {pid} goes on without its parent"
            time.sleep(0.01)


def test_killed_and_continued_side_by_side_it_gives_the_same(journey, run, tmp_path) -> None:
    again = tmp_path / "run"
    command = [sys.executable, "-P", "-m", "pipeline", "crossval", "--work", str(journey.work),
               "--run", str(again), *FEW, "crossval.workers=2"]  # fmt: skip
    for wanted in (1, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while len(list(again.glob("crossval/*/epoch-*.safetensors"))) < wanted:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        workers = children_of(process.pid)
        process.kill()
        process.wait()
        wait_until_gone(workers)
    said = framewave(*command[4:]).stderr
    assert "of 6" in said
    assert "has ended" not in said
    for name in ("out_of_fold.csv", "crossval.json", "model.json", "model.safetensors"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name
    trained = {path: path.stat().st_mtime_ns for path in again.rglob("epoch-*.safetensors")}
    framewave(*command[4:])
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_the_ensemble_of_all_folds_is_the_other_choice(journey, run, tmp_path) -> None:
    other = tmp_path / "run"
    framewave("crossval", "--work", journey.work, "--run", other, *FEW, "crossval.seeds=1",
              "crossval.final=ensemble")  # fmt: skip
    assert json.loads((other / "model.json").read_text())["members"] == 3
    assert not list(other.glob("crossval/all-*"))


def test_other_settings_and_other_stages_are_refused(journey, run) -> None:
    for arguments, says in (
        (["crossval", "--work", journey.work, "--run", run, *SETTINGS, "crossval.seeds=1"],
         "was started with crossval.folds=3"),
        (["train", "--work", journey.work, "--run", run, *SETTINGS],
         "was started by `framewave crossval`"),
        (["crossval", "--work", journey.work, "--run", run, *FEW, "model.trainable_blocks=1"],
         "trainable_blocks=1 is for `framewave train`"),
        (["crossval", "--work", journey.work, "--run", run.parent / "x", "crossval.folds=999"],
         "999 folds need at least 999 groups"),
    ):  # fmt: skip
        done = framewave(*arguments, check=False)
        assert done.returncode == 2
        assert says in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_its_report_knows_what_each_modality_is_worth(run) -> None:
    summary = json.loads((run / "crossval.json").read_text())
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    masked = metrics["modality_ablation"]["masked"]
    assert masked["n"] == len(summary["shown_alone"]["picture"]) == metrics["n"]
    assert masked["both"]["accuracy"] == pytest.approx(metrics["accuracy"])
    rows = {f"{row['path']}\0\0": row["label"] for row in rows_of(run / "out_of_fold.csv")}
    for modality, said in summary["shown_alone"].items():
        right = [said[key] == rows[key] for key in said]
        assert masked[modality]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["evaluated_on"] == "out of fold"
    assert metrics["reproduction"]["stage"] == "crossval"
    assert metrics["audit"]["n_clips"] == 36
