import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.records.locks import LOCK_NAME, only_one
from tests.conftest import SETTINGS, framewave


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path) -> None:
    lock, out = tmp_path / ".lock", tmp_path / "out.csv"
    code = f"""
from pathlib import Path
from pipeline.records.locks import only_one
with only_one(Path({str(lock)!r}), Path("out.csv")):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=r"another framewave is at work on .*out.csv"),
        only_one(lock, out),
    ):
        pass
    other.kill()  # kill -9 leaves no lock behind
    other.wait()
    with only_one(lock, out):
        pass


@pytest.mark.end_to_end
def test_two_trainings_do_not_write_into_one_run(journey, tmp_path) -> None:
    with only_one(tmp_path / LOCK_NAME, tmp_path):
        command = ("train", "--work", journey.work, "--run", tmp_path, *SETTINGS)
        done = framewave(*command, check=False)
    assert done.returncode == 2
    assert "another framewave is at work" in " ".join(done.stderr.split())
    assert not (tmp_path / "run.json").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "work"
    with (
        pytest.raises(UserError, match=r"cannot write in .*work \(Not a directory\); choose"),
        only_one(folder / LOCK_NAME, folder),
    ):
        pass
