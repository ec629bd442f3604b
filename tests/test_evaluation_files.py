"""An evaluation's table read back: every clip once, whatever its path and labels are.

An evaluation's files: nothing old beside new numbers, and nothing read that does not fit.

"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.manifest import ManifestRow
from data_prep.settings import TaskSettings
from data_prep.status import Status
from pipeline.errors import UserError
from pipeline.evaluation import evaluation_files
from pipeline.evaluation.evaluated_clips import write_table
from pipeline.evaluation.evaluation_files import (
    SUMMARY_NAME,
    OutOfFold,
    eval_folder,
    make_folder,
    read_clip_results,
    read_evaluation,
    read_out_of_fold,
    write_evaluation,
    write_out_of_fold,
)
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction
from pipeline.tasks import get_task
from tests.helpers.metrics_samples import LABELS, clips, kept_evaluation, metrics_of
from tests.helpers.tables import predicted

TASK = get_task(TaskSettings())


def test_each_clip_and_part_is_read_back(tmp_path: Path) -> None:
    one, other, gone = clips(3)
    odd = replace(one.row, path='/v/=1+1, "a"\n.mp4', label="=cat", group="+g")
    parts = [replace(other, row=replace(other.row, start_s=s, end_s=s + 1.25)) for s in (0.0, 1.25)]
    failed = replace(gone, prediction=Prediction(gone.row.path, Status.CRASHED, "died"))
    labels = ("=cat", *LABELS)
    chances = np.array([0.7, 0.1, 0.1, 0.1])
    whole = [
        replace(
            clip, prediction=replace(clip.prediction, path=clip.row.path, probabilities=chances)
        )
        for clip in (replace(one, row=odd), *parts)
    ]
    write_table(tmp_path / "t.csv", [*whole, failed], TASK, labels, "m")
    said = read_clip_results(tmp_path / "t.csv")
    assert len(said) == 4
    assert said[odd.path, "", ""].label == said[odd.path, "", ""].predicted == "=cat"
    assert said[odd.path, "", ""].right
    assert said[odd.path, "", ""].group == "+g"
    assert {key[1:] for key in said if key[0] == other.row.path} == {
        ("0.0", "1.25"),
        ("1.25", "2.5"),
    }
    assert said[gone.row.path, "", ""].predicted == ""
    assert not said[gone.row.path, "", ""].right


def test_a_table_of_something_else_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,predicted\n/a,cat\n")
    with pytest.raises(KeyError):
        read_clip_results(tmp_path / "t.csv")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    judged = clips(40)
    metrics = metrics_of(judged)
    write_evaluation(tmp_path / "eval", judged, TASK, LABELS, metrics, [])
    kept = read_evaluation(tmp_path)
    assert kept.metrics == json.loads(json.dumps(metrics))
    assert {key[0] for key in kept.clips} == {clip.row.path for clip in judged}
    assert read_evaluation(tmp_path / "eval").clips == kept.clips
    assert eval_folder(tmp_path) == tmp_path / "eval"
    assert eval_folder(tmp_path, tmp_path / "x") == tmp_path / "x"


def test_nothing_of_an_earlier_evaluation_stays(tmp_path: Path) -> None:
    judged = clips(40)
    write_evaluation(tmp_path, judged, TASK, LABELS, metrics_of(judged), [])
    (tmp_path / "report.html").write_text("old")
    assert (tmp_path / "findings.csv").is_file()
    write_evaluation(tmp_path, judged, TASK, LABELS, metrics_of(judged) | {"audit": None}, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.csv"]


def test_a_folder_that_cannot_be_made_is_the_users_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="give another --out"):
        make_folder(tmp_path / "file" / "eval")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder nobody can write in")
def test_a_folder_that_cannot_be_written_in_is_known_before_the_work() -> None:
    with pytest.raises(UserError, match=r"cannot write to the folder /proc/self.*another --out"):
        make_folder(Path("/proc/self"))


def test_an_interrupted_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = clips(40)
    write_evaluation(tmp_path, judged, TASK, LABELS, metrics_of(judged), [])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation_files, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_evaluation(tmp_path, judged, TASK, LABELS, metrics_of(judged), [])
    with pytest.raises(UserError, match="was not evaluated"):
        read_evaluation(tmp_path)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    run = kept_evaluation(tmp_path, clips(30))
    metrics = run / "eval" / "metrics.json"
    kept = json.loads(metrics.read_text())
    for changed, says in (
        ({}, "cannot be read"),
        (kept | {"version": 1}, "older framewave"),
        (kept | {"step_s": 1.0}, "not of the task clip_label"),  # of timelines
        (kept | {"confusion": {"labels": ["cat"], "counts": [[1]]}}, "labels that the model does"),
        (kept | {"evaluated_on": "whatever"}, "cannot be read"),
        (kept | {"audit": {"x": 1}}, "cannot be read"),
        ({key: value for key, value in kept.items() if key != "reproduction"}, "cannot be read"),
    ):
        metrics.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=says):
            read_evaluation(run)
    metrics.write_text(json.dumps(kept))
    kept_evaluation(tmp_path, [])
    with pytest.raises(UserError, match="holds no clip"):
        read_evaluation(run)


FOLD_LABELS = ("=cat", 'dog, "big"', "ü\n2")


def fold_clips() -> list[EvaluatedClip]:
    good = [
        EvaluatedClip(
            ManifestRow(
                f"/\udce4 {k}.mp4", label=FOLD_LABELS[k], group="-g", fold="1", start_s=k + 0.5
            ),
            Prediction(
                f"/\udce4 {k}.mp4", Status.OK, "", np.roll([0.5, 0.25, 0.25], k), True, False, 2.0
            ),
            None,
        )
        for k in range(3)
    ]
    broken = ManifestRow("/x", label=FOLD_LABELS[0], status=Status.CRASHED)
    return [*good, EvaluatedClip(broken, Prediction("/x", Status.CRASHED, "died"), None)]


def test_round_trip_of_strange_names(tmp_path) -> None:
    write_out_of_fold(tmp_path, OutOfFold(fold_clips(), {"baselines": {}}), TASK, FOLD_LABELS, "m")
    found = {c.row.path: c for c in read_out_of_fold(tmp_path, TASK, FOLD_LABELS).clips}
    assert found.keys() == {c.row.path for c in fold_clips()}
    for clip in fold_clips():
        again = found[clip.row.path]
        for name in ("label", "group", "fold", "start_s", "status"):
            assert getattr(again.row, name) == getattr(clip.row, name)
        assert predicted(again.prediction, FOLD_LABELS) == predicted(clip.prediction, FOLD_LABELS)
        assert again.prediction.has_video == clip.prediction.has_video
        assert again.prediction.error == clip.prediction.error


def test_a_table_that_was_cut_is_damaged(tmp_path) -> None:
    summary = {"baselines": {"majority": {"n": 3}}}
    write_out_of_fold(tmp_path, OutOfFold(fold_clips(), summary), TASK, FOLD_LABELS, "m")
    assert len(read_out_of_fold(tmp_path, TASK, FOLD_LABELS).clips) == 4
    write_out_of_fold(tmp_path, OutOfFold(fold_clips()[1:], summary), TASK, FOLD_LABELS, "m")
    with pytest.raises(UserError, match="2 predictions in"):
        read_out_of_fold(tmp_path, TASK, FOLD_LABELS)
    summary["baselines"]["majority"] = {}
    write_out_of_fold(tmp_path, OutOfFold(fold_clips(), summary), TASK, FOLD_LABELS, "m")
    with pytest.raises(UserError, match="is damaged"):
        read_out_of_fold(tmp_path, TASK, FOLD_LABELS)


def test_no_crossval_and_damage_are_told_apart(tmp_path) -> None:
    assert read_out_of_fold(tmp_path, TASK, FOLD_LABELS) is None
    (tmp_path / SUMMARY_NAME).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_out_of_fold(tmp_path, TASK, FOLD_LABELS)
