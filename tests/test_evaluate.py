"""What is needed to make a model again: only what differs from the defaults, and digests.

The stage eval through the command line: what it says, and what it leaves where.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.evaluation.evaluate import _commands, reproduction
from pipeline.inference.classifier import Classifier
from pipeline.prep.prep_plan import stored_request
from pipeline.storage.run_record import environment
from tests.conftest import SETTINGS, framewave

pytestmark = pytest.mark.end_to_end


def test_settings_that_differ_are_listed_and_no_others(journey) -> None:
    found = reproduction(Classifier.load(journey.run))
    assert found["stage"] == "train"
    assert found["settings"]["train.max_epochs"] == 6
    assert found["settings"]["model.head_units"] == 32
    assert found["settings"]["model.frame_encoder"] == "efficientnet_lite0"
    assert "train.learning_rate" not in found["settings"]
    assert found["seed"] == 0
    record = json.loads((journey.run / "run.json").read_text())
    assert found["data_digest"] == record["data_digest"]
    assert found["environment_then"] == found["environment_now"]
    prep, train = found["commands"]
    assert prep.startswith(f"framewave prep DATA --work {journey.work} ")
    assert train.startswith(f"framewave train --work {journey.work} --run NEW ")
    assert "train.max_epochs" in train
    assert "train.max_epochs" not in prep
    for setting in SETTINGS[::2]:
        assert setting in train
    assert "model.frame_encoder=efficientnet_lite0" in prep


def test_its_commands_make_the_model_again(journey, tmp_path) -> None:
    """Typed as they stand there, with another work folder, the data and a new run in place."""
    work, run = tmp_path / "work", tmp_path / "run"
    for command in reproduction(Classifier.load(journey.run))["commands"]:
        words = shlex.split(command)
        assert words[0] == "framewave"
        places = {"DATA": journey.data, str(journey.work): work, "NEW": run}
        framewave(*(places.get(word, word) for word in words[1:]))
    for name in ("model.json", "model.safetensors"):
        assert (run / name).read_bytes() == (journey.run / name).read_bytes(), name


def test_what_shaped_the_work_folder_is_in_the_command_of_prep() -> None:
    items = [
        "split.by=time", "split.gap_s=3", "limits.max_duration_s=20", "labels.column=species",
        "classify.backend=torch", "classify.precision=float32", "train.mirror=never", "device=cpu",
    ]  # fmt: skip
    prep, fit = _commands("train", "w", stored_request(load_config(None, items)), [])
    told = {item.split("=")[0]: item.split("=")[1] for item in shlex.split(prep)[5:]}
    assert told.keys() == {item.split("=")[0] for item in items}
    again = load_config(None, shlex.split(prep)[5:])
    assert stored_request(again) == stored_request(load_config(None, items))
    assert "train.mirror=never" in fit
    assert "split.by" not in fit


def test_every_library_that_shapes_a_model_is_recorded() -> None:
    known = environment()
    for name in ("framewave", "torch", "pytorch-lightning", "numpy", "openvino", "av"):
        assert known[name], name


def test_a_model_without_its_record_still_tells_what_it_is(journey, tmp_path) -> None:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((journey.run / name).read_bytes())
    found = reproduction(Classifier.load(tmp_path))
    assert found["model"] == Classifier.load(journey.run).digest
    assert "stage" not in found
    assert found["frame_encoder"]["weights_digest"]


def test_commands_give_the_settings_back_to_a_shell(tmp_path: Path) -> None:
    settings = {
        "clip.frame_rate_hz": 2.0, "model.audio_strides": [4, 4], "train.choose_by": "loss",
        "model.sound_hop_s": None, "model.motion": True,
    }  # fmt: skip
    lines = _commands("crossval", "/my work", settings, [])
    prep, fit = (shlex.split(line) for line in lines)
    assert prep[:5] == ["framewave", "prep", "DATA", "--work", "/my work"]
    assert fit[:6] == ["framewave", "crossval", "--work", "/my work", "--run", "NEW"]
    told = load_config(None, sorted({*prep[5:], *fit[6:]}))
    assert told.clip.frame_rate_hz == 2.0
    assert list(told.model.audio_strides or ()) == [4, 4]
    assert told.model.motion
    assert told.train.choose_by == "loss"
    assert "clip.frame_rate_hz=2.0" not in fit
    _, begun = _commands("train", "w", {"train.seed": 3}, ["--from", "first"])
    assert begun == "framewave train --work w --run NEW --from first train.seed=3"


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
    assert "held an evaluation (test split); this one replaces it" in said
    assert "groups: inferred from series of file names" in said
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert metrics["evaluated_on"] == "other data"
    assert metrics["groups_known"]
    assert metrics["n_groups"] == metrics["n"] / 2
    assert not (run / "eval" / "findings.csv").exists()
    again = framewave("eval", "--run", run, "--data", folder, "--no-audit")
    assert "this one replaces it" not in again.stdout + again.stderr
