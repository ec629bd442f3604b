"""Runs that are killed, interrupted, started twice or run out of disk lose nothing and go on."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import framewave
from tests.helpers.media import write_video

pytestmark = pytest.mark.end_to_end
KILLS = 10


def start(*arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        **options,
    )  # fmt: skip


def wait_for_more(process: subprocess.Popen, count: Callable[[], int], before: int) -> None:
    while count() <= before:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def kill_again_and_again(arguments: list[object], count: Callable[[], int], total: int) -> None:
    """Kill -9 the whole group after new rows, before the end; then let it end."""
    for _ in range(KILLS):
        before = count()
        process = start(*arguments)
        wait_for_more(process, count, before)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert before < count() < total
    framewave(*arguments)


@pytest.fixture(scope="module")
def many(clips, tmp_path_factory) -> Path:
    """180 files to classify, good and damaged: enough that no kill comes too late."""
    folder = tmp_path_factory.mktemp("many")
    for source in sorted(clips.new.iterdir()):
        for number in range(18):
            os.link(source, folder / f"{number}_{source.name}")
    return folder


@pytest.fixture(scope="module")
def undisturbed(journey, many, tmp_path_factory) -> Path:
    table = tmp_path_factory.mktemp("undisturbed") / "p.csv"
    framewave("classify", many, "--run", journey.run, "--out", table)
    return table


def rows_of(table: Path) -> int:
    journal = Path(f"{table}.journal")
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def journal_lines(table: Path) -> list[bytes]:
    return sorted(Path(f"{table}.journal").read_bytes().splitlines())


def test_classify_killed_many_times_ends_the_same(journey, many, undisturbed, tmp_path) -> None:
    table = tmp_path / "p.csv"
    total = len(list(many.iterdir()))
    arguments = ["classify", many, "--run", journey.run, "--out", table]

    def rows() -> int:
        assert not table.exists(), "the table comes when all files are done"
        return rows_of(table)

    kill_again_and_again(arguments, rows, total)
    assert table.read_bytes() == undisturbed.read_bytes()
    # rows are journalled as files are done, which is in another order each time
    assert journal_lines(table) == journal_lines(undisturbed)


def test_prep_killed_many_times_ends_the_same(tmp_path) -> None:
    data, n_parts = tmp_path / "data", KILLS + 3
    seeds = [
        write_video(tmp_path / f"{i}.mp4", [40 * k for k in range(10 + 5 * i)], sound_ms=(0, 700))
        for i in range(3)
    ]
    for number in range(16 * n_parts):
        path = data / "ab"[number % 2] / f"{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(seeds[number % 3], path)
    settings = [
        "model.frame_encoder=efficientnet_lite0", "clip.frame_size_px=64", "clip.frame_rate_hz=1",
    ]  # fmt: skip

    def tree(work: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(work)): path.read_bytes()
            for path in sorted(work.rglob("*"))
            if path.is_file()
        }

    def parts() -> int:
        # the clips' part is written last: a part counts once both of a pair are there
        return len(list((tmp_path / "killed").glob("clips/*/part-*.parquet")))

    kill_again_and_again(["prep", data, "--work", tmp_path / "killed", *settings], parts, n_parts)
    framewave("prep", data, "--work", tmp_path / "whole", *settings)
    killed, whole = tree(tmp_path / "killed"), tree(tmp_path / "whole")
    assert parts() == n_parts
    assert set(killed) == set(whole)
    assert [name for name in whole if killed[name] != whole[name]] == []


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_ends_soon_and_says_how_to_go_on(
    journey, many, undisturbed, tmp_path, wish
) -> None:
    table = tmp_path / "p.csv"
    arguments = ["classify", many, "--run", journey.run, "--out", table]
    process = start(*arguments)
    wait_for_more(process, lambda: rows_of(table), 0)
    asked_s = time.monotonic()
    process.send_signal(wish)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - asked_s < 2
    assert process.returncode == 130
    assert f"continue with: framewave classify {many}" in said
    assert "Traceback" not in said
    assert 0 < rows_of(table) < len(list(many.iterdir()))
    framewave(*arguments)
    assert table.read_bytes() == undisturbed.read_bytes()


def test_a_second_process_on_the_same_output_is_told_and_stops(journey, many, tmp_path) -> None:
    table = tmp_path / "p.csv"
    first = start("classify", many, "--run", journey.run, "--out", table)
    wait_for_more(first, lambda: int(Path(f"{table}.journal").exists()), 0)
    second = framewave("classify", many, "--run", journey.run, "--out", table, check=False)
    assert second.returncode == 2
    assert "another framewave process is using" in second.stderr
    _, said = first.communicate()
    assert first.returncode == 0, said


def test_a_changed_file_is_done_again(journey, tmp_path) -> None:
    folder, table = tmp_path / "new", tmp_path / "p.csv"
    shutil.copytree(journey.new, folder)
    framewave("classify", folder, "--run", journey.run, "--out", table)
    before = rows_of(table)
    changed = sorted(folder.glob("new_*.mp4"))[0]
    os.utime(changed, ns=(1, 1))
    framewave("classify", folder, "--run", journey.run, "--out", table)
    assert rows_of(table) == before + 1


@pytest.fixture
def small_disk(tmp_path):
    """(folder, arguments for Popen, what makes room): a tmpfs, else a limit on file sizes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = False
    if shutil.which("mount"):
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:
        limit = (8 * 1024, resource.RLIM_INFINITY)
        yield folder, {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)}, id
        return
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(244 * 1024))
    yield folder, {}, lambda _: ballast.unlink()
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_the_same_command_goes_on(
    journey, many, undisturbed, small_disk
) -> None:
    folder, options, make_room = small_disk
    table = folder / "p.csv"
    arguments = ["classify", many, "--run", journey.run, "--out", table]
    process = start(*arguments, **options)
    _, said = process.communicate()
    assert process.returncode == 2, said
    assert "the disk is full" in said
    assert "continue with: framewave classify" in said
    assert "Traceback" not in said
    names = {path.name for path in folder.iterdir()} - {"ballast"}
    assert names <= {"p.csv.journal"}
    assert Path(f"{table}.journal").read_bytes()[-1:] in (b"\n", b"")
    make_room(0)
    framewave(*arguments)
    assert table.read_bytes() == undisturbed.read_bytes()


def test_a_full_disk_leaves_prepared_clips_whole(clips, small_disk) -> None:
    folder, options, _ = small_disk
    if options:
        pytest.skip("needs a small disk; a file size limit says nothing of the disk")
    refused = framewave("prep", clips.data, "--work", folder / "w", check=False)
    assert refused.returncode == 2
    assert "GB free" in refused.stderr or "the disk is full" in refused.stderr
    assert not list(folder.rglob("*.tmp"))
