"""One small data set of real encoded clips, taken through the real command line once."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.cli.demo import plan_labelled, plan_new, write_clip, write_odd_files
from tests.helpers.media import remux

SETTINGS = ["model.frame_encoder=efficientnet_lite0", "train.max_epochs=6", "model.head_units=32"]

# no test is about time: busy machines would fail the default of 200 ms for each example
settings.register_profile("framewave", deadline=None)
settings.load_profile("framewave")

# Converted encoders are kept between the tests of one run, and not among the user's own.
os.environ["FRAMEWAVE_CACHE"] = tempfile.mkdtemp(prefix="framewave-cache-")
atexit.register(shutil.rmtree, os.environ["FRAMEWAVE_CACHE"], ignore_errors=True)


def framewave(*arguments: object, check: bool = True, cwd: Path | None = None):
    """Run the command line as a user would; returns the finished process with its output."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
    )
    if check and done.returncode:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
    return done


SLOW_FILES = frozenset({
    "test_audio_encoder", "test_audit", "test_audit_fingerprints", "test_batch_encoder",
    "test_classifier_api", "test_cli", "test_clip_decoder", "test_comparison",
    "test_comparison_report", "test_crossval", "test_decode_pool", "test_end_to_end",
    "test_evaluate", "test_examples", "test_frame_difference", "test_fuzz",
    "test_independent_decode", "test_killed", "test_locks", "test_matrix", "test_openvino_encoder",
    "test_recipes", "test_report", "test_shared_media", "test_training_overlap", "test_warm_start",
    "test_worker_pool",
})  # fmt: skip
"""Left out of `make test-fast`, as is every test of the whole way (the fixtures below)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW_FILES or {"journey", "clips"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class Journey:
    """Folders of one way from videos to tables."""

    root: Path

    data = property(lambda self: self.root / "labelled")
    new = property(lambda self: self.root / "new")
    work = property(lambda self: self.root / "work")
    run = property(lambda self: self.root / "run")
    table = property(lambda self: self.root / "predictions.csv")


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Journey:
    """36 labelled clips of six labels; a new folder with whole, damaged and soundless files."""
    journey = Journey(tmp_path_factory.mktemp("journey"))
    for clip in plan_labelled(journey.data, 36, seed=3):
        clip.path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(clip)
    journey.new.mkdir()
    new = plan_new(journey.new, 6, seed=3)
    for clip in new:
        write_clip(clip)
    write_odd_files(journey.new, new[0].path, seed=0)
    remux(new[0].path, journey.new / "no_sound.mp4", drop_sound=True)
    return journey


@pytest.fixture(scope="session")
def journey(clips: Journey) -> Journey:
    """The same, prepared, trained, evaluated and classified."""
    framewave("prep", clips.data, "--work", clips.work, *SETTINGS)
    framewave("train", "--work", clips.work, "--run", clips.run, *SETTINGS)
    framewave("eval", "--run", clips.run)
    framewave("classify", clips.new, "--run", clips.run, "--out", clips.table)
    return clips
