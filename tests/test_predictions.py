import csv

import numpy as np
import pytest

from data_prep.settings import TaskSettings
from data_prep.status import Status
from pipeline.storage.predictions import UNSURE, Prediction, write_predictions
from pipeline.tasks import get_task

TASK = get_task(TaskSettings())
GOOD = Prediction("/b.mp4", Status.OK, "", np.array([0.25, 0.75]), True, False, 3.0)
BAD = Prediction("/a.mp4", Status.CRASHED, "SIGSEGV")


def test_rows_are_sorted_and_failures_have_empty_cells(tmp_path) -> None:
    write_predictions(tmp_path / "p.csv", [GOOD, BAD], TASK, ["x", "y"], "m1")
    with (tmp_path / "p.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["path"] == "/a.mp4"
    assert [first[k] for k in ("predicted", "probability", "p_x", "p_y", "duration_s")] == [""] * 5
    assert (second["predicted"], second["probability"]) == ("y", "0.750000")
    assert (second["has_video"], second["has_audio"]) == ("yes", "no")


def test_a_prediction_without_data_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="contradict"):
        Prediction("/a", Status.CRASHED, "", np.array([1.0]))
    with pytest.raises(ValueError, match="contradict"):
        Prediction("/a", Status.OK)


def test_text_of_strangers_is_no_formula(tmp_path) -> None:
    row = Prediction("/a.mp4", Status.OK, "", np.array([1.0, 0.0]), more={"group": "@x"})
    write_predictions(tmp_path / "p.csv", [row], TASK, ["=cmd()", "y"], "m1", ["group"])
    with (tmp_path / "p.csv").open() as file:
        (cells,) = csv.DictReader(file)
    assert (cells["predicted"], cells["group"]) == ("'=cmd()", "'@x")


def test_below_the_wanted_probability_it_is_unsure_and_numbers_stay(tmp_path) -> None:
    rows = [
        Prediction("/a.mp4", Status.OK, "", np.array([0.7, 0.3])),
        Prediction("/b.mp4", Status.OK, "", np.array([0.31, 0.69])),
        Prediction("/c.mp4", Status.CRASHED, "died"),
    ]
    write_predictions(tmp_path / "p.csv", rows, TASK, ["x", "y"], "m1", min_probability=0.7)
    with (tmp_path / "p.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [row["predicted"] for row in cells] == ["x", UNSURE, ""]
    assert [row["probability"] for row in cells] == ["0.700000", "0.690000", ""]
    assert cells[1]["p_y"] == "0.690000"
