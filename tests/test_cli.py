"""What a user may do wrong: one clear message with what to do, exit code 2, no traceback."""

import csv
import subprocess
import sys
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.storage import workspace
from tests.conftest import SETTINGS, framewave


def expect_refusal(*arguments: object, says: tuple[str, ...]) -> None:
    done = framewave(*arguments, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("error") == 1
    for text in says:
        assert text in done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['framewave', '--help']\n"
        "from pipeline.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sklearn', 'matplotlib', 'pyarrow', 'av', 'decord', 'pandas'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout
    for command in ("scan", "prep", "train", "eval", "classify", "inspect", "doctor", "demo"):
        assert command in done.stdout


def test_bare_command_prints_help() -> None:
    done = framewave(check=False)
    assert "Usage" in done.stdout + done.stderr
    assert "classify" in done.stdout + done.stderr


def test_wrong_path(tmp_path) -> None:
    for command in ("scan", "prep"):
        expect_refusal(command, tmp_path / "nowhere", "--work", tmp_path / "w",
                says=("nowhere does not exist", "class folders"))  # fmt: skip


def test_empty_folder(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    expect_refusal("prep", tmp_path / "data", "--work", tmp_path / "w",
            says=("holds no files", "one sub-folder per label"))  # fmt: skip


def test_one_class_only(clips, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(clips.data / "day_then_night__bird")
    expect_refusal("prep", tmp_path / "data", "--work", tmp_path / "w",
            says=("all clips have the label 'cat'", "at least two labels"))  # fmt: skip


def test_a_label_with_one_clip(clips, tmp_path) -> None:
    (tmp_path / "data" / "dog").mkdir(parents=True)
    (tmp_path / "data" / "cat").symlink_to(clips.data / "day_then_night__bird")
    one = next((clips.data / "day_then_night__frog").iterdir())
    (tmp_path / "data" / "dog" / "a.mp4").symlink_to(one)
    expect_refusal("prep", tmp_path / "data", "--work", tmp_path / "w",
            says=("label 'dog' has only one clip", "add clips"))  # fmt: skip


def test_unknown_key_and_value_out_of_range(tmp_path) -> None:
    expect_refusal("train", "--work", tmp_path, "--run", tmp_path / "r", "train.max_epoch=3",
            says=("unknown key 'train.max_epoch'", "Did you mean 'train.max_epochs'?"))  # fmt: skip
    expect_refusal("train", "--work", tmp_path, "--run", tmp_path / "r", "train.max_epochs=0",
            says=("train.max_epochs=0", "greater than or equal to 1"))  # fmt: skip


def test_missing_work_folder_and_run(tmp_path) -> None:
    expect_refusal("train", "--work", tmp_path / "w", "--run", tmp_path / "r",
            says=("does not exist", "framewave prep DATA"))  # fmt: skip
    expect_refusal("eval", "--run", tmp_path / "r", says=("no trained model", "framewave train"))
    expect_refusal("classify", tmp_path, "--run", tmp_path / "r", says=("no trained model",))


def test_settings_that_contradict_the_work_folder(journey, tmp_path) -> None:
    message = ("clip.frame_rate_hz=2.0 contradicts", "prepared with clip.frame_rate_hz=1.0")
    expect_refusal("train", "--work", journey.work, "--run", tmp_path / "r", "clip.frame_rate_hz=2",
            says=message)  # fmt: skip
    expect_refusal("prep", journey.data, "--work", journey.work, "clip.frame_rate_hz=2", *SETTINGS,
            says=message)  # fmt: skip
    expect_refusal("train", "--work", journey.work, "--run", tmp_path / "r",
            "model.frame_encoder=resnet18", says=("model.frame_encoder=resnet18",))  # fmt: skip
    expect_refusal("train", "--work", journey.work, "--run", tmp_path / "r", *SETTINGS,
            "model.audio_front_end=pretrained", "model.sound_window_s=3",
            says=("model.sound_window_s=3.0 contradicts", "prepared with"))  # fmt: skip


def test_a_run_started_with_other_settings_is_not_continued(journey) -> None:
    expect_refusal("train", "--work", journey.work, "--run", journey.run, *SETTINGS, "train.seed=9",
            says=("was started with train.seed=0", "asks for 9", "another --run"))  # fmt: skip


def test_disk_too_small_for_prep(clips, tmp_path, monkeypatch, capsys) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(workspace.shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    arguments = ["framewave", "prep", str(clips.data), "--work", str(tmp_path / "w"), *SETTINGS]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "0.0 GB free, but this needs about" in said
    assert "--work" in said


def test_a_folder_without_labels_names_the_csv_in_it(clips, tmp_path) -> None:
    one = next((clips.data / "day_then_night__frog").iterdir())
    (tmp_path / "a.mp4").symlink_to(one)
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,x\n")
    expect_refusal("scan", tmp_path, "--work", tmp_path / "w", says=("did you mean", "labels.csv"))


def test_scan_says_what_is_there(clips, tmp_path) -> None:
    done = framewave("scan", clips.data, "--work", tmp_path / "w")
    assert "36 files: 36 ok" in done.stdout
    assert "day_then_night__bird" in done.stdout
    with (tmp_path / "w" / "manifest.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 36


def test_inspect_shows_streams_and_steps(clips, tmp_path) -> None:
    file = next(Path(clips.data / "day_then_night__frog").iterdir())
    done = framewave("inspect", file, "--sheet", tmp_path / "sheet.png")
    assert "picture: h264" in done.stdout
    assert "sound: aac" in done.stdout
    assert "status: ok" in done.stdout
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_doctor_finds_everything_working() -> None:
    done = framewave("doctor")
    assert "H.264 and AAC written and read back" in done.stdout
    assert "fail" not in done.stdout


def test_targets_of_the_wrong_kind_are_refused_before_work(journey, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    expect_refusal("prep", journey.data, "--work", tmp_path / "file", says=("is a file",))
    expect_refusal("train", "--work", journey.work, "--run", tmp_path / "file", says=("is a file",))
    expect_refusal("classify", journey.new, "--run", journey.run, "--out", tmp_path,
            says=("is a folder", "--out"))  # fmt: skip
    expect_refusal("inspect", journey.new / "no_sound.mp4", "--sheet", tmp_path / "x.foo",
            says=("must end in .png",))  # fmt: skip


def test_classify_refuses_settings_the_model_was_not_made_with(journey, tmp_path) -> None:
    out = ("--out", tmp_path / "p.csv")
    expect_refusal("classify", journey.new, "--run", journey.run, *out, "clip.frame_rate_hz=5",
            says=("clip.frame_rate_hz=5.0 contradicts the model",))  # fmt: skip
    expect_refusal("classify", journey.new, "--run", journey.run, *out, "clips.frame_rate_hz=5",
            says=("unknown key", "Did you mean 'clip.frame_rate_hz'"))  # fmt: skip


def test_rates_no_audio_encoder_fits_are_refused_before_decoding(clips, tmp_path) -> None:
    rates = ["clip.audio_rate_hz=8009", "model.audio_front_end=log_mel"]
    expect_refusal("prep", clips.data, "--work", tmp_path / "w", *rates, *SETTINGS, says=("8009",))
    assert not (tmp_path / "w" / "clips").exists()


def test_inspect_of_a_folder_says_what_it_takes(tmp_path) -> None:
    expect_refusal("inspect", tmp_path, says=("is a folder; inspect takes one file",))


def test_the_versions_are_told() -> None:
    told = framewave("--version").stdout
    assert told.startswith(f"framewave {version('framewave')} (torch {version('torch')}")


def test_keys_of_one_group_are_shown_alone() -> None:
    told = framewave("keys", "train").stdout
    assert "train.max_epochs" in told
    assert "clip." not in told
    expect_refusal("keys", "trian", says=("train",))
