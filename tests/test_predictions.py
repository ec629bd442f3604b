import csv

import numpy as np
import pytest

from data_prep.status import Status
from pipeline.errors import UserError
from pipeline.journal import Journal
from pipeline.predictions import Prediction, write_predictions

GOOD = Prediction("/b.mp4", Status.OK, "", np.array([0.25, 0.75]), True, False, 3.0)
BAD = Prediction("/a.mp4", Status.CRASHED, "SIGSEGV")


def test_rows_are_sorted_and_failures_have_empty_cells(tmp_path) -> None:
    write_predictions(tmp_path / "p.csv", [GOOD, BAD], ["x", "y"], "m1")
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


def test_journal_gives_back_what_was_added_and_forgets_a_torn_line(tmp_path) -> None:
    path = tmp_path / "p.csv.journal"
    journal = Journal(path, {"model": "m1"})
    assert journal.open() == {}
    with journal:
        journal.add("1", GOOD)
        journal.add("2", BAD)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])  # as a power cut leaves it
    journal = Journal(path, {"model": "m1"})
    known = journal.open()
    assert set(known) == {"1"}
    assert np.array_equal(known["1"].probabilities, GOOD.probabilities)
    with journal:
        journal.add("2", BAD)
    assert path.read_bytes() == whole


def test_journal_of_another_model_or_no_journal_is_refused(tmp_path) -> None:
    path = tmp_path / "p.csv.journal"
    with Journal(path, {"model": "m1"}) as journal:
        journal.open()
    with pytest.raises(UserError, match="begun with model=m1, this is model=m2"):
        Journal(path, {"model": "m2"}).open()
    path.write_text("something else\n")
    with pytest.raises(UserError, match="no journal"):
        Journal(path, {"model": "m1"}).open()
