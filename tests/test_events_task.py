"""The task events: lists, scores, labels; and the way through the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.manifest import ManifestRow
from data_prep.segments import LabelledSegment
from data_prep.settings import TaskSettings
from data_prep.status import DataSetError, Status
from pipeline.cli.demo_timeline import plan_schedules, transitions, write_schedule
from pipeline.features.samples import LabelledSample, Sample
from pipeline.metrics.segments import common_length, edit_distance, event_list_scores
from pipeline.tasks import get_task
from pipeline.tasks.events import END
from tests.conftest import framewave

LABELS = ("cat", "dog", END)
LISTS = st.lists(st.sampled_from("abc"), max_size=7)


def task(**settings):
    return get_task(TaskSettings(name="events", **settings), 1.0)


def plain_common_length(first, second) -> int:
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + plain_common_length(first[:-1], second[:-1])
    return max(plain_common_length(first[:-1], second), plain_common_length(first, second[:-1]))


@given(LISTS, LISTS)
def test_the_common_subsequence_equals_its_definition(first, second) -> None:
    assert common_length(first, second) == plain_common_length(first, second)


@given(st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=6))
def test_scores_equal_a_plain_computation(pairs) -> None:
    found = event_list_scores(pairs, [str(k) for k in range(len(pairs))])
    assert found["accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    hits = sum(plain_common_length(a, b) for a, b in pairs)
    n_true, n_found = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    assert found["recall"] == pytest.approx(hits / n_true if n_true else 1)
    assert found["precision"] == pytest.approx(hits / n_found if n_found else float(not n_true))
    edits = [
        1 - edit_distance([ord(c) for c in a], [ord(c) for c in b]) / max(1, len(a), len(b))
        for a, b in pairs
    ]
    assert found["edit"] == pytest.approx(np.mean(edits))


def test_hand_worked_lists() -> None:
    pairs = [(["door", "dog", "door"], ["door", "door"]), ([], []), (["dog"], ["cat"])]
    found = event_list_scores(pairs, ["a", "b", "c"])
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert (found["precision"], found["recall"]) == pytest.approx((2 / 3, 2 / 4))
    assert found["edit"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_lists_come_from_segments_or_from_a_column() -> None:
    cat, dog = LabelledSegment(1, 3, "cat"), LabelledSegment(4, 6, "dog")
    of_segments = ManifestRow("/a.mp4", label="cat;dog", segments=(cat, dog))
    assert task().events_of(of_segments) == ["cat", "dog"]
    assert task().targets(of_segments, 8, LABELS).tolist() == [0, 1, 2]
    assert task().events_of(ManifestRow("/a.mp4", label="dog; cat ;dog")) == ["dog", "cat", "dog"]
    nothing = ManifestRow("/a.mp4", label="background")
    assert task().events_of(nothing) == []
    assert task().row_labels(nothing) == ["background"]
    assert task().labels([of_segments, nothing]) == LABELS
    assert task().counted_labels(LABELS) == ["cat", "dog"]  # not the end mark


def test_steps_are_known_where_segments_are() -> None:
    segments = tuple(LabelledSegment(*each) for each in ((1, 3, "cat"), (3, 4, "dog")))
    row = ManifestRow("/a.mp4", label="cat;dog", segments=segments, status=Status.OK,
                      duration_s=5.0)  # fmt: skip
    cat, dog, end = range(3)
    assert task().step_targets(row, 5, LABELS).tolist() == [end, cat, cat, dog, end]
    ignore = task(unlabelled="ignore")
    assert ignore.step_targets(row, 5, LABELS).tolist() == [-1, cat, cat, dog, -1]
    named = replace(row, segments=(*segments, LabelledSegment(4, 5, "background")))
    assert ignore.step_targets(named, 5, LABELS).tolist() == [-1, cat, cat, dog, end]
    of_column = ManifestRow("/b.mp4", label="cat;dog", status=Status.OK, duration_s=5.0)
    assert task().step_targets(of_column, 5, LABELS).tolist() == [-1] * 5
    nothing = replace(of_column, label="background")
    assert task().step_targets(nothing, 5, LABELS).tolist() == [end] * 5
    # transitions are counted where times are known
    assert task().fit_state([of_column], LABELS) == {}
    found = np.array(task().fit_state([row, of_column], LABELS)["transitions"])
    assert found[cat].tolist() == [2 / 5, 2 / 5, 1 / 5]  # one of each is added
    assert np.allclose(found.sum(axis=1), 1)


def test_events_after_the_end_of_what_was_read_are_not_in_the_list() -> None:
    cat, dog = LabelledSegment(1, 3, "cat"), LabelledSegment(14, 16, "dog")
    cut = ManifestRow("/a.mp4", label="cat;dog", segments=(cat, dog), duration_s=10.0)
    assert task().events_of(cut) == ["cat"]


def test_the_order_of_a_regression_knows_that_gaps_are_no_events() -> None:
    """Six files "cat, gap, dog" whose features tell the classes."""
    items = []
    for k in range(6):
        row = ManifestRow(
            f"/{k}.mp4", label="cat;dog", duration_s=12.0, status=Status.OK,
            segments=(LabelledSegment(0, 4, "cat"), LabelledSegment(8, 12, "dog")),
        )  # fmt: skip
        shown = torch.ones(12, dtype=torch.bool)
        picture = torch.eye(3).repeat_interleave(4, 0)
        items.append(LabelledSample(row, Sample(picture, torch.zeros(12, 1), shown, shown, ())))
    found = task().fit_baselines(items[:4], items[4:])
    assert found["logistic_step"].predicted == ["cat;dog"] * 2
    assert found["most_frequent_list"].predicted == ["cat;dog"] * 2


def test_what_is_refused() -> None:
    def check(*labels: str, **settings) -> None:
        rows = [ManifestRow(f"/{k}.mp4", label=label) for k, label in enumerate(labels)]
        task(**settings).check_rows(rows, 100, None)

    with pytest.raises(DataSetError, match=r"/1.mp4 has 3 events, more than task.max_events=2"):
        check("cat", "cat;dog;cat", max_events=2)
    with pytest.raises(DataSetError, match=r"an event cannot be called '\(end\)'"):
        check("cat;(end)")
    with pytest.raises(DataSetError, match="no file has an event"):
        check("background")
    segments = (LabelledSegment(1, 3, "a;b"),)
    with pytest.raises(DataSetError, match="an event cannot be called 'a;b'"):
        task().check_rows([ManifestRow("/a.mp4", label="a;b", segments=segments)], 100, None)
    check("cat;dog", "background")


def test_cells_and_decisions() -> None:
    rows = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.0, 0.2, 0.8]])
    chosen = np.array([0, 0, 2])  # a beam may take what is not the most probable next
    assert task().cells(rows, LABELS, 0, chosen) == ["cat;cat", f"{0.8 * 0.4 * 0.8:.6f}", "2"]
    assert task().cells(rows, LABELS, 0) == ["cat;dog", f"{0.8 * 0.5 * 0.8:.6f}", "2"]
    assert task().cells(rows[2:], LABELS, 0) == ["", "0.800000", "0"]
    assert task().cells(None, LABELS, 0) == ["", "", ""]
    row = ManifestRow("/a.mp4", label="cat;dog")
    assert task().decision_score(row, "cat;dog") == 1
    assert task().decision_score(row, "dog;cat") == 0
    assert task().decision_score(ManifestRow("/a.mp4", label="background"), "") == 1


@pytest.mark.end_to_end
def test_from_a_column_of_lists_to_a_table_of_lists(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    schedules = plan_schedules(tmp_path, [14.0] * 12, transitions(rng), rng)
    lines = ["path,events"]
    for schedule in schedules:
        write_schedule(schedule)
        events = [part.label for part in schedule.segments if part.label != "quiet"]
        lines.append(f"{schedule.path.name},{';'.join(events) or 'background'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    work, run = tmp_path / "work", tmp_path / "run"
    framewave("prep", tmp_path / "labels.csv", "--work", work, "task=events",
              "model.frame_encoder=efficientnet_lite0", "train.mirror=never")  # fmt: skip
    framewave("train", "--work", work, "--run", run, "train.max_epochs=3")
    printed = " ".join(framewave("eval", "--run", run, "--no-audit").stdout.split())
    assert "are exactly right" in printed
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert set(metrics["baselines"]) == {"most_frequent_list"}  # no times: no steps
    assert "The edit score is 1 minus" in (run / "eval" / "report.html").read_text("utf-8")

    out = tmp_path / "predictions.csv"
    framewave("classify", tmp_path, "--run", run, "--out", out)
    rows = {Path(row["path"]).name: row for row in csv.DictReader(out.open())}
    assert rows["broken.mp4"]["status"] == "unreadable"
    for schedule in schedules:
        row = rows[schedule.path.name]
        assert int(row["n_events"]) == len([e for e in row["predicted"].split(";") if e]) <= 20
        assert 0 < float(row["probability"]) <= 1
    before = out.read_bytes()
    framewave("classify", tmp_path, "--run", run, "--out", out)
    assert out.read_bytes() == before

    for arguments, says in (
        (("classify", tmp_path, "--run", run, "--out", out, "classify.min_probability=0.5"),
         "classify.min_probability is for models that label whole clips"),
        (("classify", tmp_path, "--run", run, "--out", out, "task.max_events=1"),
         "task.max_events=1 contradicts the model"),
        (("train", "--work", work, "--run", tmp_path / "y", "--from", run),
         "a training of task=events cannot start from another run"),
        (("train", "--work", work, "--run", tmp_path / "y", "model.trainable_blocks=1"),
         "task=events is trained behind a frozen frame encoder"),
    ):  # fmt: skip
        refused = framewave(*arguments, check=False)
        assert refused.returncode == 2
        assert says in " ".join(refused.stderr.split())
    (tmp_path / "both.csv").write_text("path,label,events\n" + f"{schedules[0].path.name},a,b\n")
    refused = framewave("scan", tmp_path / "both.csv", "--work", tmp_path / "z", "task=events",
                        check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "has the columns label and events" in refused.stderr

    refused = framewave("crossval", "--work", work, "--run", tmp_path / "x", check=False)
    assert refused.returncode == 2
    assert "crossval does not support task=events" in refused.stderr
