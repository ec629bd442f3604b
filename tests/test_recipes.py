"""docs/how_to_add.md is followed to the letter: in a copy of the packages, through the real CLI."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "how_to_add.md").read_text("utf-8")
KINDS = ("A backbone", "A temporal model", "A label format", "A report section", "A task")


def follow(kind: str, checkout: Path) -> None:
    """Do what the section of this heading says: one new file, one line changed."""
    section = TEXT.split(f"\n## {kind}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n# (file|in): (\S+)\n(.*?)```", section, re.DOTALL)
    assert [how for how, *_ in blocks] == ["file", "in"]
    (_, new, code), (_, changed, line) = blocks
    (checkout / new).write_text(code)
    assert line.count("\n") == 1, "more than one line"
    words = set(re.findall(r"\w+", line)) - {"toy", "steps"}
    text = (checkout / changed).read_text()
    same = [old for old in text.splitlines() if set(re.findall(r"\w+", old)) == words]
    assert len(same) == 1, same
    (checkout / changed).write_text(text.replace(same[0] + "\n", line))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "checkout"
    for package in ("data_prep", "models", "pipeline", "configs"):
        shutil.copytree(ROOT / package, folder / package,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for kind in KINDS:
        follow(kind, folder)
    return folder


def framewave(checkout: Path, *arguments: object, code: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)], cwd=checkout,
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[tuple[Path, str]]:
    """Twenty clips of four seconds, bright and dark second by second; and the words for that."""
    folder = tmp_path_factory.mktemp("videos")
    made = []
    for number in range(20):
        bright = [(number >> t) % 2 == 1 for t in range(4)]

        path = folder / f"{number}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for k in range(40):
                picture = np.full((48, 64, 3), 200 if bright[k // 10] else 40, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        made.append((path, " ".join("bright" if each else "dark" for each in bright)))
    return made


BACKBONE = ("model.frame_encoder=toy.grid4", "model.frame_weights=random", "device=cpu")
SHORT = ("train.max_epochs=60", "train.patience=null", "train.learning_rate=0.02")


@pytest.mark.end_to_end
def test_a_backbone_a_temporal_model_a_label_format_and_a_section(
    checkout, videos, tmp_path
) -> None:
    labels = ["bright" if words.startswith("bright") else "dark" for _, words in videos]
    listing = tmp_path / "set.toy"
    lines = [f"{label}: {path}\n" for label, (path, _) in zip(labels, videos, strict=True)]
    listing.write_text("".join(lines))
    work, run = tmp_path / "work", tmp_path / "run"
    framewave(checkout, "prep", listing, "--work", work, *BACKBONE)
    framewave(checkout, "train", "--work", work, "--run", run, "model.head=toy", *SHORT)
    framewave(checkout, "eval", "--run", run, "--no-audit")
    card = json.loads((run / "model.json").read_text())
    assert (card["encoder"]["name"], card["encoder"]["n_features"]) == ("toy.grid4", 48)
    assert card["model"]["head"] == "toy"
    page = (run / "eval" / "report.html").read_text("utf-8")
    assert "The longest label has 6 characters." in page
    assert '<a href="#toy">label lengths</a>' in page
    out = tmp_path / "predictions.csv"
    framewave(checkout, "classify", videos[0][0], "--run", run, "--out", out)
    (row,) = csv.DictReader(out.open())
    assert row["predicted"] in ("bright", "dark")


@pytest.mark.end_to_end
def test_a_task_with_a_label_for_each_step(checkout, videos, tmp_path) -> None:
    table = tmp_path / "set.csv"
    table.write_text("path,label\n" + "".join(f"{path},{words}\n" for path, words in videos))
    work, run = tmp_path / "work", tmp_path / "run"
    printed = framewave(checkout, "prep", table, "--work", work, "task=steps", *BACKBONE)
    n_bright = sum("bright" in words for _, words in videos)
    assert re.search(rf"bright +│? *{n_bright} ", printed)  # labels of steps, not whole cells
    framewave(checkout, "train", "--work", work, "--run", run, *SHORT)
    assert "accuracy" in framewave(checkout, "eval", "--run", run, "--no-audit")
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9  # whether a frame is bright is in the features themselves
    assert "Accuracy per step" in (run / "eval" / "report.html").read_text("utf-8")
    out = tmp_path / "predictions.csv"
    framewave(checkout, "classify", *(path for path, _ in videos), "--run", run, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == len(videos)
    assert all(len(row["predicted"].split()) == 4 for row in rows)
    framewave(checkout, "classify", *(path for path, _ in videos), "--run", run, "--out", out)
    assert list(csv.DictReader(out.open())) == rows
    cross = tmp_path / "cross"
    options = ("crossval.folds=2", "crossval.seeds=1", "crossval.workers=1", *SHORT)
    framewave(checkout, "crossval", "--work", work, "--run", cross, *options)
    framewave(checkout, "eval", "--run", cross, "--no-audit")
    metrics = json.loads((cross / "eval" / "metrics.json").read_text())
    assert (metrics["n"], metrics["accuracy"] > 0.9) == (len(videos), True)
    refused = framewave(checkout, "compare", run, cross, code=2)
    assert "is not of the task clip_label" in " ".join(refused.split())
