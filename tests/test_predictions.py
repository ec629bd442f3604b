import csv
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.settings import TaskSettings
from data_prep.status import Status
from pipeline.storage import predictions
from pipeline.storage.predictions import (
    UNSURE,
    Prediction,
    is_step_table,
    write_predictions,
    write_step_probabilities,
    write_webvtt,
)
from pipeline.tasks import get_task
from tests.helpers.browser import browser, cues_at
from tests.helpers.media import write_video

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


TIMELINE = get_task(TaskSettings(name="timeline"), 0.5)
CLASSES = ("background", "a & b", "<b>x</b>", "rock --> roll", "عربى")


def steps(*classes: int) -> np.ndarray:
    """Probabilities [N, K] of steps that are certain."""
    return np.eye(len(CLASSES))[list(classes)] * 0.9 + 0.02


def timeline(path: str, *classes: int, **values) -> Prediction:
    return Prediction(path, Status.OK, probabilities=steps(*classes), **values)


def places(*paths: str) -> dict[str, PurePath]:
    return {path: PurePath(path).relative_to("/") for path in paths}


def vtt_names(folder) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_webvtt_file_has_the_name_and_the_folders_of_its_file(tmp_path) -> None:
    paths = "/a/x.mp4", "/b/x.mp4", "/b/y.wav", "/b/y.mp4", "/b/y.wav.mkv", "/z", "/bad.mp4"
    rows = [timeline(path, 0) for path in paths[:-1]]
    rows.append(Prediction("/bad.mp4", Status.CRASHED, "SIGSEGV"))
    write_webvtt(tmp_path, places(*paths), rows, TIMELINE, CLASSES)
    assert vtt_names(tmp_path) == [
        "a/x.vtt", "b/x.vtt", "b/y.mp4.vtt", "b/y.wav.mkv.vtt", "b/y.wav.vtt", "z.vtt",
    ]  # fmt: skip
    assert (tmp_path / "z.vtt").read_text() == "WEBVTT\n\nNOTE framewave\n"


def test_a_webvtt_file_has_the_segments_of_all_parts_in_the_time_of_the_file(tmp_path) -> None:
    rows = [
        timeline("/x.mp4", 2, more={"start_s": "100", "end_s": "100.4"}, duration_s=0.4),
        timeline("/x.mp4", 0, 1, 1, more={"start_s": "3599.75"}, duration_s=1.5),
    ]
    write_webvtt(tmp_path, places("/x.mp4"), rows, TIMELINE, CLASSES)
    assert (tmp_path / "x.vtt").read_text().splitlines()[4:] == [
        "00:01:40.000 --> 00:01:40.400", "&lt;b&gt;x&lt;/b&gt;", "",
        "01:00:00.250 --> 01:00:01.250", "a &amp; b",
    ]  # fmt: skip


def test_webvtt_files_of_an_earlier_run_are_replaced_and_those_of_others_kept(tmp_path) -> None:
    (tmp_path / "other.vtt").write_text("WEBVTT\n\nNOTE by hand\n")
    rows = [timeline("/a/x.mp4", 1), timeline("/a/y.mp4", 1)]
    write_webvtt(tmp_path, places("/a/x.mp4", "/a/y.mp4"), rows, TIMELINE, CLASSES)
    write_webvtt(tmp_path, places("/a/y.mp4"), [timeline("/a/y.mp4", 0)], TIMELINE, CLASSES)
    assert vtt_names(tmp_path) == ["a/y.vtt", "other.vtt"]
    assert "-->" not in (tmp_path / "a" / "y.vtt").read_text()
    assert "by hand" in (tmp_path / "other.vtt").read_text()


def test_a_browser_shows_the_labels_as_they_are(tmp_path) -> None:
    video = write_video(tmp_path / "x.mp4", list(range(0, 5000, 40)), sound_ms=(0, 5000))
    row = timeline("/x.mp4", 0, 1, 1, 2, 0, 3, 4, duration_s=3.2)
    write_webvtt(tmp_path, places("/x.mp4"), [row], TIMELINE, CLASSES)
    expected = {0.2: 0, 0.5: 1, 1.45: 1, 1.55: 2, 2.2: 0, 2.7: 3, 3.1: 4, 3.25: 0, 4.0: 0, 1.0: 1}
    with browser() as running:
        shown = cues_at(running, video, tmp_path / "x.vtt", list(expected))
    assert shown == [[CLASSES[k]] if k else [] for k in expected.values()]


@pytest.mark.parametrize("per_group", [2, 5, 1000])
def test_step_probabilities_have_a_row_for_each_step(tmp_path, monkeypatch, per_group) -> None:
    monkeypatch.setattr(predictions, "_STEPS_PER_GROUP", per_group)
    path = tmp_path / "steps.parquet"
    rows = [
        timeline("/b.mp4", 0, 1, 2, 0, 4, duration_s=2.25),
        timeline("/a\udcff.mp4", 3, more={"start_s": "7.3", "end_s": "7.7"}, duration_s=0.4),
        timeline("/a\udcff.mp4", 2, 2, more={"start_s": "1.1"}, duration_s=1.2),
        Prediction("/c.mp4", Status.UNREADABLE, "broken"),
    ]
    write_step_probabilities(path, rows, CLASSES, 0.5, "m1")
    table = pq.read_table(path)
    assert table.column_names == ["path", "start_s", "end_s", *(f"p_{label}" for label in CLASSES)]
    columns = [table[name].to_pylist() for name in ("path", "start_s", "end_s")]
    assert list(zip(*columns, strict=True)) == [
        ("/a\\xff.mp4", 1.1, 1.6), ("/a\\xff.mp4", 1.6, 2.1), ("/a\\xff.mp4", 7.3, 7.7),
        ("/b.mp4", 0, 0.5), ("/b.mp4", 0.5, 1), ("/b.mp4", 1, 1.5), ("/b.mp4", 1.5, 2),
        ("/b.mp4", 2, 2.25),
    ]  # fmt: skip
    found = np.stack([table[f"p_{label}"].to_numpy() for label in CLASSES], axis=1)
    np.testing.assert_array_equal(found, steps(2, 2, 3, 0, 1, 2, 0, 4).astype(np.float32))
    # no larger groups, so that memory does not grow with the number of files
    assert pq.read_metadata(path).num_row_groups == {2: 4, 5: 2, 1000: 1}[per_group]


def test_a_step_table_is_told_from_others(tmp_path) -> None:
    path = tmp_path / "steps.parquet"
    write_step_probabilities(path, [], CLASSES, 0.5, "m1")
    assert is_step_table(path)
    assert pq.read_table(path).num_rows == 0
    pq.write_table(pa.table({"path": ["/a.mp4"]}), path)
    assert not is_step_table(path)
    path.write_text("path")
    assert not is_step_table(path)
