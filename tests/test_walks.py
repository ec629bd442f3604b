"""The functions that docs/architecture.md lists are called, and every package is visited once."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
NUMBER_WORDS = {"Twenty-six": 26, "Twenty-seven": 27, "Thirty-nine": 39}

# in every Python process and thread: writes the name of each function of the packages once
RECORDER = """
import os, sys, threading
out = open(os.path.join(os.environ["CALLED"], str(os.getpid())), "a", buffering=1)
known = set()
def profile(frame, event, argument):
    code = frame.f_code
    if event == "call" and code not in known:
        known.add(code)
        module = frame.f_globals.get("__name__") or ""
        if code.co_filename.endswith("data_prep/worker/worker.py"):
            module = "data_prep.worker.worker"  # __main__ in the decoding process
        if module.partition(".")[0] in ("data_prep", "models", "pipeline"):
            print(f"{module}.{code.co_qualname}", file=out)
sys.setprofile(profile)
threading.setprofile(profile)
"""
HEADING_OR_FUNCTION = re.compile(r"^`([\w.]+)`(?:,.*)?$|^\d+\. `([\w.]+)`", re.MULTILINE)


def walk(number: int) -> list[tuple[str, list[str]]]:
    """[(package, its functions)] of a walk, in the order of the page."""
    section = TEXT.split(f"### Walk {number}:")[1].split("\n## ")[0].split("\n### ")[0]
    found: list[tuple[str, list[str]]] = []
    for package, function in HEADING_OR_FUNCTION.findall(section):
        if package:
            found.append((package, []))
        else:
            found[-1][1].append(function)
    (word,) = re.findall(r"^(\S+) functions", section, re.MULTILINE)
    assert sum(len(functions) for _, functions in found) == NUMBER_WORDS[word]
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_package_is_visited_once(number: int) -> None:
    packages = [package for package, _ in walk(number)]
    assert len(set(packages)) == len(packages)
    for package, functions in walk(number):
        assert functions, package
        for function in functions:
            module = next(
                name for name in (function.rpartition(".")[0], function.rsplit(".", 2)[0])
                if (ROOT / f"{name.replace('.', '/')}.py").is_file()
            )  # fmt: skip
            # `models` stands for its modules, not for its packages
            assert package in (module, module.rpartition(".")[0])


@pytest.mark.end_to_end
def test_every_function_of_the_walks_is_called(journey, tmp_path) -> None:
    pytest.importorskip("openvino")
    called, site = tmp_path / "called", tmp_path / "site"
    called.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(RECORDER)
    environment = os.environ | {
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "CALLED": str(called),
        "FRAMEWAVE_CACHE": str(tmp_path / "cache"),  # empty, so the encoder is converted
    }  # fmt: skip
    with journey.table.open() as file:
        one = next(
            row["path"] for row in csv.DictReader(file)
            if (row["status"], row["has_video"], row["has_audio"]) == ("ok", "yes", "yes")
        )  # fmt: skip
    for arguments in (
        ["classify", one, "--run", journey.run, "--out", tmp_path / "out.csv", "device=cpu"],
        ["train", "--work", journey.work, "--run", tmp_path / "run", "train.max_epochs=1"],
    ):
        subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
    lines = "\n".join(path.read_text() for path in called.iterdir()).splitlines()
    inherited = {"pipeline.tasks.clip_label.ClipLabel.labels": "pipeline.tasks.base.Task.labels"}
    for number in (1, 2, 3):
        listed = [function for _, functions in walk(number) for function in functions]
        missing = [
            name for name in listed
            # called by OpenVINO in a thread of its own, which no profile function sees
            if name != "pipeline.features.openvino_encoder._on_result"
            and inherited.get(name, name) not in lines
        ]  # fmt: skip
        assert not missing, f"walk {number}"
