"""The stage eval through the command line: what it says, and what it leaves where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import framewave


@pytest.mark.end_to_end
def test_another_set_takes_the_place_of_the_test_split_and_says_so(journey, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(journey.run, run)
    framewave("eval", "--run", run, "--no-audit")
    (run / "eval" / "findings.csv").write_text("of an earlier one")
    folder = tmp_path / "others"
    for label in sorted(path for path in journey.data.iterdir() if path.is_dir()):
        (folder / label.name).mkdir(parents=True)
        for number, clip in enumerate(sorted(label.iterdir())[:3]):
            shutil.copyfile(clip, folder / label.name / f"cam{number}_{label.name}_1{clip.suffix}")
            shutil.copyfile(clip, folder / label.name / f"cam{number}_{label.name}_2{clip.suffix}")
    done = framewave("eval", "--run", run, "--data", folder, "--no-audit")
    said = " ".join((done.stdout + done.stderr).split())
    assert "held an evaluation (test split); this one takes its place" in said
    assert "groups: inferred from series of file names" in said
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert metrics["evaluated_on"] == "other data"
    assert metrics["groups_known"]
    assert metrics["n_groups"] == metrics["n"] / 2
    assert not (run / "eval" / "findings.csv").exists()
    again = framewave("eval", "--run", run, "--data", folder, "--no-audit")
    assert "takes its place" not in again.stdout + again.stderr
