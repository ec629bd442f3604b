"""The Python API: order of work, what is said of other backends, and that nothing loads early."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from data_prep.manifest import ManifestRow
from pipeline.config import load_config
from pipeline.inference.classifier import Classifier, longest_first
from tests.conftest import framewave
from tests.helpers.tables import rows_of


def rows(*sizes: int) -> list[ManifestRow]:
    return [ManifestRow(path=str(i), id=str(i), size_bytes=size) for i, size in enumerate(sizes)]


def test_no_large_file_is_left_for_last_but_small_ones_come_first() -> None:
    ordered = [row.size_bytes for row in longest_first(rows(5, 900, 20, 3, 400, 7), workers=2)]
    assert ordered == [5, 3, 900, 400, 20, 7]


@pytest.mark.parametrize("sizes", [(), (4,), (4, 9)])
def test_few_files_are_all_there(sizes: tuple[int, ...]) -> None:
    ordered = longest_first(rows(*sizes), workers=8)
    assert sorted(row.size_bytes for row in ordered) == sorted(sizes)


def test_each_row_comes_once_with_its_own_prediction(journey) -> None:
    classifier = Classifier.load(journey.run)
    predictions = classifier.classify([journey.new])
    assert [p.path for p in predictions] == sorted(p.path for p in predictions)
    assert len(predictions) == len(list(journey.new.iterdir()))
    assert sum(classifier.decode_strategies.values()) >= 6  # a way for every file with a picture


def test_other_backends_are_told_of_and_agree(journey) -> None:
    """The model was trained on OpenVINO's features; torch's give the same within 1e-2."""
    own = Classifier.load(journey.run, load_config(None, ["device=cpu"]))
    other = Classifier.load(
        journey.run, load_config(None, ["device=cpu", "classify.backend=torch"])
    )
    assert own.backend_note == ""
    assert "trained on features made by openvino-cpu" in other.backend_note
    for a, b in zip(own.classify([journey.new]), other.classify([journey.new]), strict=True):
        assert a.status is b.status
        if a.probabilities is not None:
            assert a.probabilities == pytest.approx(b.probabilities, abs=1e-2)


def test_loading_a_run_loads_no_torch(journey) -> None:
    code = (
        "import sys, json; from pipeline.inference.classifier import Classifier; "
        f"c = Classifier.load({str(journey.run)!r}); c.labels; c.backend_note; "
        "print(json.dumps([m for m in ('torch', 'openvino') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr


def test_what_it_is_not_sure_of_is_called_so_and_nothing_is_judged_again(journey, tmp_path) -> None:
    table = tmp_path / "p.csv"
    framewave("classify", journey.new, "--run", journey.run, "--out", table)
    before = rows_of(table)
    ranked = sorted(float(row["probability"]) for row in before if row["probability"])
    cut = (ranked[2] + ranked[3]) / 2
    again = framewave(
        "classify", journey.new, "--run", journey.run, "--out", table,
        f"classify.min_probability={cut}",
    )  # fmt: skip
    assert f"{len(before)} rows taken" in again.stdout
    for old, new in zip(before, rows_of(table), strict=True):
        sure = bool(old["probability"]) and float(old["probability"]) >= cut
        wanted = old["predicted"] if sure or not old["probability"] else "unsure"
        assert new == old | {"predicted": wanted}
    assert sum(row["predicted"] == "unsure" for row in rows_of(table)) == 3


def test_a_label_of_that_name_is_refused(journey, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(journey.run, run)
    card = json.loads((run / "model.json").read_text())
    card["labels"][0] = "unsure"
    (run / "model.json").write_text(json.dumps(card))
    done = framewave(
        "classify", journey.new, "--run", run, "--out", tmp_path / "p.csv",
        "classify.min_probability=0.5", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "has a label 'unsure'" in done.stderr
