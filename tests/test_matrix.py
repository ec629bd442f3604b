"""Every stage with every front end and every kind of clips: picture, sound, both, mixed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.checkpoints.model_card import read_description
from pipeline.cli import commands
from pipeline.config import PRESETS, Config, load_config
from pipeline.errors import UserError
from tests.helpers.media import write_video

FRONT_ENDS = ("pretrained", "log_mel", "waveform")
KINDS = ("picture", "sound", "both", "mixed")
SMALL = (
    "model.frame_encoder=efficientnet_lite0", "model.frame_weights=random",
    "clip.frame_size_px=32", "clip.frame_rate_hz=1", "train.max_epochs=2", "model.head_units=8",
    "crossval.folds=2", "crossval.seeds=1", "train.mirror=never", "device=cpu",
    "model.sound_window_s=1", "classify.backend=torch", "classify.workers=2",
)  # fmt: skip
N_PER_LABEL = 4
GIVEN = load_config(None, ["device=cpu", "classify.backend=torch", "classify.workers=2"])


def settings(front_end: str) -> Config:
    return load_config(None, [*SMALL, f"model.audio_front_end={front_end}"])


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    """{kind: a folder of eight clips of two labels}. Mixed: some lack one of the two, or last for
    two seconds instead of one."""
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        for label in ("low", "high"):
            (found[kind] / label).mkdir()
            for k in range(N_PER_LABEL):
                has = kind if kind != "mixed" else ("picture", "sound", "both")[k % 3]
                length_ms = 2000 if kind == "mixed" and k % 2 else 1000
                times = [
                    100 * t + (7 * k if label == "high" else 0) for t in range(length_ms // 100)
                ]
                write_video(
                    found[kind] / label / f"{k}.{'mkv' if has == 'sound' else 'mp4'}", times,
                    picture=has != "sound",
                    sound_ms=None if has == "picture" else (0, length_ms),
                    beeps_ms=(200,) if label == "low" else (500, 800), size=(64, 48),
                )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def prepared(sets, tmp_path_factory):
    """{(kind, whether windows of sound were encoded): its work folder}, made when asked for."""
    made: dict[tuple[str, bool], Path] = {}

    def work(kind: str, front_end: str) -> Path:
        key = kind, front_end == "pretrained"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("work")
            statuses = commands.run_prep(sets[kind], made[key], settings(front_end))
            assert statuses == {"ok": 2 * N_PER_LABEL}
        return made[key]

    return work


def test_a_default_on_the_command_line_means_the_same_as_the_default(
    prepared, tmp_path, capsys
) -> None:
    """Clips without windows of sound: the default front end, written out or not, gives way."""
    work = prepared("both", "log_mel")
    for name, written in (("default", []), ("written", ["model.audio_front_end=pretrained"])):
        commands.run_train(work, tmp_path / name, load_config(None, [*SMALL, *written]))
        assert "model.audio_front_end=log_mel is used" in " ".join(capsys.readouterr().err.split())
    one, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("default", "written")
    )
    assert one == other


def test_the_file_of_all_defaults_changes_nothing(sets, tmp_path) -> None:
    """prep, train, classify and crossval with configs/default.yaml, and without it."""
    for name, file in (("without", None), ("with", PRESETS / "default.yaml")):
        config = load_config(file, [*SMALL])
        commands.run_prep(sets["both"], tmp_path / name / "work", config)
        commands.run_train(tmp_path / name / "work", tmp_path / name / "run", config)
        given = load_config(file, ["device=cpu", "classify.backend=torch", "classify.workers=2"])
        commands.run_classify(
            [sets["both"]], tmp_path / name / "run", tmp_path / name / "p.csv", given
        )
        commands.run_crossval(tmp_path / name / "work", tmp_path / name / "folds", config)
    for made in ("work/manifest.csv", "run/model.safetensors", "run/model.json", "p.csv",
                 "folds/out_of_fold.csv", "folds/eval/predictions.csv"):  # fmt: skip
        one, other = ((tmp_path / name / made).read_bytes() for name in ("without", "with"))
        assert one == other, made


def test_a_rate_that_was_chosen_in_prep_is_the_models(sets, tmp_path, capsys) -> None:
    """Clips of one second: four steps each. Written again or not, auto asks for nothing new."""
    work, run, table = tmp_path / "work", tmp_path / "run", tmp_path / "predictions.csv"
    auto = load_config(None, [*SMALL, "clip.frame_rate_hz=auto"])
    commands.run_prep(sets["both"], work, auto)
    assert "clip.frame_rate_hz=4 is used (auto)" in " ".join(capsys.readouterr().err.split())
    commands.run_prep(sets["both"], work, auto)
    assert "8 were prepared already" in capsys.readouterr().out
    commands.run_train(work, run, auto)
    assert read_description(run).card.clip.frame_rate_hz == 4
    given = load_config(None, ["device=cpu", "classify.backend=torch", "clip.frame_rate_hz=auto"])
    commands.run_classify([sets["both"]], run, table, given)
    assert {row["status"] for row in csv.DictReader(table.open())} == {"ok"}
    with pytest.raises(UserError, match="contradicts"):
        commands.run_prep(sets["both"], work, load_config(None, [*SMALL, "clip.frame_rate_hz=2"]))
    capsys.readouterr()
    usual = [item for item in SMALL if not item.startswith("clip.frame_rate_hz")]
    for again in (commands.run_prep, commands.run_scan):  # by the folder's rate, not by 1 or auto
        again(sets["both"], work, load_config(None, usual))
        assert "frame_rate_hz" not in capsys.readouterr().err


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_ends_well(sets, prepared, tmp_path, kind: str, front_end: str) -> None:
    work, config = prepared(kind, front_end), settings(front_end)
    run, cross, table = tmp_path / "run", tmp_path / "cross", tmp_path / "predictions.csv"
    commands.run_train(work, run, config)
    commands.run_eval(run, None, None, GIVEN, audit=False)
    commands.run_crossval(work, cross, config)
    commands.run_audit(sets[kind], work, config, accept=False)
    commands.run_classify([sets[kind]], run, table, GIVEN)
    if kind == "mixed":
        commands.run_eval(run, sets[kind], tmp_path / "other", GIVEN)
    again = shutil.copytree(cross, tmp_path / "again")
    commands.run_compare([cross, again], tmp_path / "comparison")
    for folder in (run / "eval", cross / "eval", *tmp_path.glob("other")):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert 0 <= metrics["accuracy"] <= 1
        assert (folder / "report.html").stat().st_size > 10_000
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 2 * N_PER_LABEL
    assert {row["status"] for row in rows} == {"ok"}
    chances = np.array([[float(row["p_high"]), float(row["p_low"])] for row in rows])
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
