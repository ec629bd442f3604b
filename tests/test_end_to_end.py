"""The whole way through the real command line, on real H.264 and AAC."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.dataset.clip_store import read_rows
from tests.conftest import SETTINGS, framewave
from tests.helpers.tables import predicted, rows_of

pytestmark = pytest.mark.end_to_end


def test_every_file_has_exactly_one_row(journey) -> None:
    rows = rows_of(journey.table)
    files = sorted(str(path) for path in journey.new.iterdir())
    assert [row["path"] for row in rows] == files
    manifest = rows_of(journey.work / "manifest.csv")
    assert len(manifest) == 36
    assert {row["status"] for row in manifest} == {"ok"}


def test_damaged_files_have_a_reason_and_no_prediction(journey) -> None:
    rows = {Path(row["path"]).name: row for row in rows_of(journey.table)}
    for name, row in rows.items():
        numbers = [value for key, value in row.items() if key.startswith("p_")]
        if name.startswith("damaged"):
            assert row["status"] in ("not_media", "unreadable")
            assert row["error"]
            assert [row["predicted"], row["probability"], *set(numbers)] == ["", "", ""]
        else:
            assert row["status"] == "ok"
            assert sum(map(float, numbers)) == pytest.approx(1, abs=1e-5)


def test_columns_are_the_agreed_ones(journey) -> None:
    labels = json.loads((journey.run / "model.json").read_text())["labels"]
    with journey.table.open() as file:
        header = next(csv.reader(file))
    wanted = ["path", "status", "error", "predicted", "probability"]
    wanted += [f"p_{label}" for label in labels]
    wanted += ["has_video", "has_audio", "duration_s", "model"]
    assert header == wanted
    with (journey.run / "eval" / "predictions.csv").open() as file:
        assert next(csv.reader(file)) == [*wanted, "label", "group", "fold", "split"]


def test_classify_gives_evals_probabilities(journey, tmp_path) -> None:
    evaluated = {r["path"]: r for r in rows_of(journey.run / "eval" / "predictions.csv")}
    listed = tmp_path / "list.csv"
    listed.write_text("path\n" + "\n".join(evaluated) + "\n")
    framewave("classify", listed, "--run", journey.run, "--out", tmp_path / "p.csv")
    classified = {r["path"]: r for r in rows_of(tmp_path / "p.csv")}
    assert classified.keys() == evaluated.keys()
    assert len(evaluated) >= 6
    for path, row in evaluated.items():
        for key in (key for key in row if key.startswith("p_")):
            assert float(classified[path][key]) == pytest.approx(float(row[key]), abs=1e-4)


def test_metrics_json_has_model_and_baselines(journey) -> None:
    metrics = json.loads((journey.run / "eval" / "metrics.json").read_text())
    assert {"version", "n", "accuracy", "macro_f1", "per_class", "confusion", "baselines"} <= set(
        metrics
    )
    assert set(metrics["baselines"]) == {"majority", "presence", "logistic_default"} | {
        f"logistic_{kind}{what}" for kind in ("", "picture_", "sound_")
        for what in ("mean", "mean_deviation")
    }  # fmt: skip
    assert metrics["accuracy"] - metrics["baselines"]["majority"]["accuracy"] == pytest.approx(
        metrics["baselines"]["majority"]["difference"]["mean"]
    )
    table = [r for r in rows_of(journey.run / "eval" / "predictions.csv") if r["predicted"]]
    assert metrics["n"] == len(table)
    right = np.mean([row["predicted"] == row["label"] for row in table])
    assert metrics["accuracy"] == pytest.approx(right)


def test_report_is_one_file_that_asks_for_nothing(journey) -> None:
    page = (journey.run / "eval" / "report.html").read_text()
    assert "logistic regression on averages over time" in page
    assert "<svg" in page
    for request in ("@import", "url(http", '<link rel="stylesheet"'):
        assert request not in page
    sources = re.findall(r'\b(?:src|srcset)="([^"]*)', page)
    assert sources
    played = re.findall(r'<(?:video|audio) controls preload="none" src="([^"]*)', page)
    assert all(source.startswith("file:") for source in played)  # asked for when they are played
    assert all(source.startswith("data:") for source in sources if source not in played)
    assert "framewave eval --run" in page


def test_removed_sound_gives_another_answer_than_silence(journey, tmp_path) -> None:
    from pipeline.cli.demo import DemoClip, write_clip
    from tests.helpers.media import remux

    with_sound = tmp_path / "in" / "a_silent.mp4"
    with_sound.parent.mkdir()
    write_clip(DemoClip(with_sound, "day_then_night", "frog", 999))
    remux(with_sound, with_sound.parent / "b_removed.mp4", drop_sound=True)
    framewave("classify", with_sound.parent, "--run", journey.run, "--out", tmp_path / "p.csv")
    silent, removed = rows_of(tmp_path / "p.csv")
    assert (silent["has_audio"], removed["has_audio"]) == ("yes", "no")
    assert (silent["status"], removed["status"]) == ("ok", "ok")
    gap = [abs(float(silent[k]) - float(removed[k])) for k in silent if k.startswith("p_")]
    assert max(gap) > 1e-3


def test_same_command_again_reuses_all_rows_and_writes_the_same_table(journey) -> None:
    before = journey.table.read_bytes()
    again = framewave("classify", journey.new, "--run", journey.run, "--out", journey.table)
    assert f"{len(rows_of(journey.table))} rows taken" in again.stdout
    assert journey.table.read_bytes() == before


def test_another_models_journal_is_refused(journey, tmp_path) -> None:
    table = tmp_path / "p.csv"
    shutil.copy(f"{journey.table}.journal", f"{table}.journal")
    lines = Path(f"{table}.journal").read_text().replace('"model": "', '"model": "x', 1)
    Path(f"{table}.journal").write_text(lines)
    refused = framewave("classify", journey.new, "--run", journey.run, "--out", table, check=False)
    assert refused.returncode == 2
    assert "was started with other settings: model was x" in refused.stderr


def test_strict_says_that_files_failed(journey, tmp_path) -> None:
    done = framewave(
        "classify", journey.new, "--run", journey.run, "--out", tmp_path / "p.csv", "--strict",
        check=False,
    )  # fmt: skip
    assert done.returncode == 3


def test_eval_on_another_labelled_set(journey, tmp_path) -> None:
    framewave("eval", "--run", journey.run, "--data", journey.data, "--out", tmp_path / "e")
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["n"] == 36


def test_same_seed_gives_the_same_metrics_in_fresh_processes(journey, tmp_path) -> None:
    run = tmp_path / "run"
    framewave("train", "--work", journey.work, "--run", run, *SETTINGS)
    framewave("eval", "--run", run)
    for name in ("model.safetensors", "epochs.csv", "eval/metrics.json"):
        assert (run / name).read_bytes() == (journey.run / name).read_bytes(), name


def test_training_killed_and_run_again_is_as_if_undisturbed(journey, tmp_path) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--work", journey.work, "--run", run, *SETTINGS]
    process = start(arguments)
    wait_for(lambda: len(read_lines(run / "epochs.csv")) >= 3, process)
    process.kill()
    process.wait()
    assert not (run / "model.json").exists()
    framewave(*arguments)
    for name in ("epochs.csv", "model.safetensors", "model.json"):
        assert (run / name).read_bytes() == (journey.run / name).read_bytes(), name


def test_prep_killed_while_writing_a_part_gives_the_same_clips(journey, tmp_path) -> None:
    work = tmp_path / "work"
    arguments = ["prep", journey.data, "--work", work, "classify.workers=2", *SETTINGS]
    process = start(arguments)
    wait_for(lambda: any(work.glob("clips/*/.part-*.tmp")), process)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(work.glob("clips/*/part-*.parquet"))
    framewave(*arguments)
    assert not list(work.glob("*/*/.part-*"))
    for kind in ("clips", "features"):
        undisturbed = sorted(journey.work.glob(f"{kind}/*/part-*.parquet"))
        resumed = sorted(work.glob(f"{kind}/*/part-*.parquet"))
        assert [p.relative_to(journey.work) for p in undisturbed] == [
            p.relative_to(work) for p in resumed
        ]
        for one, other in zip(undisturbed, resumed, strict=True):
            assert_same_rows(one, other)


def assert_same_rows(one: Path, other: Path) -> None:
    for a, b in zip(read_rows(one), read_rows(other), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert np.array_equal(a[name], b[name], equal_nan=name == "frame_times_s"), name


def start(arguments: list[object], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "pipeline", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)


def wait_for(condition, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.02)


def read_lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def test_eval_refuses_a_test_split_that_is_no_longer_the_one_of_training(journey, tmp_path) -> None:
    work, run = tmp_path / "work", tmp_path / "run"
    shutil.copytree(journey.work, work)
    shutil.copytree(journey.run, run)
    record = (run / "run.json").read_text().replace(str(journey.work), str(work))
    (run / "run.json").write_text(record)
    framewave("scan", journey.data, "--work", work, "split.seed=7")
    refused = framewave("eval", "--run", run, check=False)
    assert refused.returncode == 2
    assert "may hold training clips" in refused.stderr


def test_a_raised_limit_takes_effect(journey, tmp_path) -> None:
    one = tmp_path / "one.csv"
    files = [row["path"] for row in rows_of(journey.work / "manifest.csv")]
    one.write_text("path,label,split\n" + "".join(
        f"{path},{'ab'[i % 2]},{('train', 'val', 'test')[i // 2 % 3]}\n"
        for i, path in enumerate(files[:6])
    ))  # fmt: skip
    arguments = ["prep", one, "--work", tmp_path / "w", *SETTINGS]
    framewave(*arguments, "limits.max_duration_s=2")
    cut = rows_of(tmp_path / "w" / "manifest.csv")
    assert {row["status"] for row in cut} == {"partial"}
    assert "limits.max_duration_s=2" in cut[0]["error"]
    framewave(*arguments)
    assert {row["status"] for row in rows_of(tmp_path / "w" / "manifest.csv")} == {"ok"}


def test_tuning_the_frame_encoder_and_judging_it(journey, tmp_path) -> None:
    """eval's and classify's frames go through the same JPEG, so their numbers agree."""
    run = tmp_path / "run"
    tuned = [*SETTINGS, "model.trainable_blocks=1", "train.max_epochs=1", "train.batch_size=8"]
    framewave("train", "--work", journey.work, "--run", run, *tuned)
    framewave("eval", "--run", run)
    evaluated = {r["path"]: r for r in rows_of(run / "eval" / "predictions.csv")}
    framewave("classify", *evaluated, "--run", run, "--out", tmp_path / "p.csv")
    for row in rows_of(tmp_path / "p.csv"):
        for key in (key for key in row if key.startswith("p_")):
            assert float(row[key]) == pytest.approx(float(evaluated[row["path"]][key]), abs=1e-4)
    frozen, own = (
        json.loads((folder / "eval" / "metrics.json").read_text())["baselines"]
        for folder in (journey.run, run)
    )
    for baselines in (frozen, own):
        for result in baselines.values():
            del result["difference"]  # to the model, which is another one
    assert own == frozen


def test_a_table_inside_the_folder_is_not_classified(journey, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(journey.new / "no_sound.mp4", folder)
    for _ in range(2):
        framewave("classify", folder, "--run", journey.run, "--out", folder / "p.csv")
        assert [Path(row["path"]).name for row in rows_of(folder / "p.csv")] == ["no_sound.mp4"]


def test_python_api(journey) -> None:
    from pipeline.inference.classifier import Classifier

    classifier = Classifier.load(journey.run)
    rows = classifier.classify([journey.new])
    table = rows_of(journey.table)
    assert [row.path for row in rows] == [row["path"] for row in table]
    assert [predicted(row, classifier.labels) for row in rows] == [r["predicted"] for r in table]


@pytest.mark.parametrize("modality", ["picture", "sound"])
def test_a_model_of_one_modality_is_judged_on_another_set(journey, tmp_path, modality) -> None:
    run = tmp_path / "run"
    one = [*SETTINGS, f"model.modalities={modality}", "train.max_epochs=2"]
    framewave("train", "--work", journey.work, "--run", run, *one)
    done = framewave("eval", "--run", run, "--data", journey.data, "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["n"] == 36
    assert metrics["modality_ablation"]["masked"] is None
    # train and val clips of this very set
    trained = [r for r in rows_of(journey.work / "manifest.csv") if r["split"] != "test"]
    assert metrics["audit"]["trained_on"] == len(trained)
    assert f"The model was trained on {len(trained)} of the 36 clips" in done.stdout
    assert (tmp_path / "out" / "findings.csv").is_file()
