import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.records.locks import only_one


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
