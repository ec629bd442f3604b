import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from tests.conftest import SETTINGS, framewave


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path) -> None:
    lock, out = tmp_path / ".lock", tmp_path / "out.csv"
    code = f"""
from pathlib import Path
from pipeline.storage.locks import exclusive_lock
with exclusive_lock(Path({str(lock)!r}), Path("out.csv")):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=r"another framewave process is using .*out.csv"),
        exclusive_lock(lock, out),
    ):
        pass
    other.kill()  # kill -9 leaves no lock behind
    other.wait()
    assert lock.exists()
    with exclusive_lock(lock, out):
        pass
    assert not lock.exists()


def test_a_file_that_its_last_owner_removed_is_no_lock(tmp_path) -> None:
    """It was opened before, and locked after it was removed: by then another may have a new one."""
    lock = tmp_path / ".lock"
    real = os.open
    removed: list[str] = []

    def late(path, *rest, **named) -> int:
        descriptor = real(path, *rest, **named)
        if str(path).endswith(".lock") and not removed:
            removed.append(path)
            Path(path).unlink()
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", late)
        with exclusive_lock(lock, tmp_path):
            assert removed
            assert lock.exists()
            with pytest.raises(UserError, match="is using"), exclusive_lock(lock, tmp_path):
                pass


def test_of_many_that_begin_at_once_never_two_are_inside(tmp_path) -> None:
    code = """
import os, sys
from pathlib import Path
from pipeline.errors import UserError
from pipeline.storage.locks import exclusive_lock
folder, n_inside = Path(sys.argv[1]), 0
while n_inside < 40:
    try:
        with exclusive_lock(folder / ".lock", folder):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "inside")
            n_inside += 1
    except UserError:
        pass
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.end_to_end
def test_two_trainings_do_not_write_into_one_run(journey, tmp_path) -> None:
    with exclusive_lock(tmp_path / LOCK_NAME, tmp_path):
        command = ("train", "--work", journey.work, "--run", tmp_path, *SETTINGS)
        done = framewave(*command, check=False)
    assert done.returncode == 2
    assert "another framewave process is using" in " ".join(done.stderr.split())
    assert not (tmp_path / "run.json").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "work"
    with (
        pytest.raises(UserError, match=r"cannot write to .*work \(Not a directory\); choose"),
        exclusive_lock(folder / LOCK_NAME, folder),
    ):
        pass
