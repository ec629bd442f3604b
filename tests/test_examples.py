"""examples/ run as they are written, on real encoded media; the Python API is what they use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from tests.conftest import SETTINGS
from tests.helpers.tables import rows_of

ROOT = Path(__file__).resolve().parent.parent


def test_the_python_api_is_what_it_was() -> None:
    """Names that people import; a removal is a change for CHANGELOG.md."""
    assert pipeline.__all__ == [
        "Classifier", "SilentReporter", "cross_validate", "evaluate", "load_config", "prepare",
        "train", "write_report",
    ]  # fmt: skip
    for name in pipeline.__all__:
        assert callable(getattr(pipeline, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pipeline.nothing  # noqa: B018


@pytest.mark.end_to_end
def test_the_script_for_the_python_api(journey, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "python_api.py", journey.data, journey.new,
         "--work", tmp_path / "work", "--run", tmp_path / "run", *SETTINGS],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "accuracy on the test split" in done.stdout
    assert len(done.stdout.splitlines()) == 1 + len(rows_of(journey.table))


@pytest.mark.end_to_end
def test_the_shell_script(journey, tmp_path) -> None:
    command = tmp_path / "framewave"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "examples" / "end_to_end.sh", journey.data, journey.new,
         tmp_path / "out", *SETTINGS],
        env=os.environ | {"PYTHONPATH": str(ROOT), "FRAMEWAVE": str(command)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == len(rows_of(journey.table))
    assert (tmp_path / "out" / "run" / "eval" / "report.html").is_file()


@pytest.mark.end_to_end
def test_what_the_readme_says_to_type(clips, tmp_path) -> None:
    """Its make targets and its lines of Python, in a folder as its reader has it."""
    text = (ROOT / "README.md").read_text("utf-8")
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = [line.partition("#")[0].split() for line in shell.splitlines() if line.strip()]
    assert [line[:2] for line in lines] == [
        ["make", name] for name in ("setup", "demo", "prep", "train", "eval", "classify")
    ]
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").symlink_to(sys.executable)
    (scripts / "framewave").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    (scripts / "framewave").chmod(0o755)
    (scripts.parent / ".installed").touch()  # what `make setup` leaves
    (tmp_path / "videos").symlink_to(clips.data)
    (tmp_path / "other_videos").symlink_to(clips.new)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SET": " ".join(SETTINGS)}
    for command in [line for line in lines if line[1] not in ("setup", "demo")]:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "predictions.csv")
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= len(rows_of(tmp_path / "predictions.csv"))
