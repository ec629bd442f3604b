"""An evaluation's files: nothing old beside new numbers, and nothing read that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.evaluating import evaluation_files
from pipeline.evaluating.evaluation_files import (
    eval_folder,
    make_folder,
    read_evaluation,
    write_evaluation,
)
from tests.metrics_samples import LABELS, clips, kept_evaluation, metrics_of


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    judged = clips(40)
    metrics = metrics_of(judged)
    write_evaluation(tmp_path / "eval", judged, LABELS, metrics, [])
    kept = read_evaluation(tmp_path)
    assert kept.metrics == json.loads(json.dumps(metrics))
    assert {key[0] for key in kept.clips} == {clip.row.path for clip in judged}
    assert read_evaluation(tmp_path / "eval").clips == kept.clips
    assert eval_folder(tmp_path) == tmp_path / "eval"
    assert eval_folder(tmp_path, tmp_path / "x") == tmp_path / "x"


def test_nothing_of_an_earlier_evaluation_stays(tmp_path: Path) -> None:
    judged = clips(40)
    write_evaluation(tmp_path, judged, LABELS, metrics_of(judged), [])
    (tmp_path / "report.html").write_text("old")
    assert (tmp_path / "findings.csv").is_file()
    write_evaluation(tmp_path, judged, LABELS, metrics_of(judged) | {"audit": None}, [])
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
    with pytest.raises(UserError, match=r"cannot write in the folder /proc/self.*another --out"):
        make_folder(Path("/proc/self"))


def test_an_interrupted_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = clips(40)
    write_evaluation(tmp_path, judged, LABELS, metrics_of(judged), [])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation_files, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_evaluation(tmp_path, judged, LABELS, metrics_of(judged), [])
    with pytest.raises(UserError, match="was not evaluated"):
        read_evaluation(tmp_path)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    run = kept_evaluation(tmp_path, clips(30))
    metrics = run / "eval" / "metrics.json"
    kept = json.loads(metrics.read_text())
    for changed, says in (
        ({}, "cannot be read"),
        (kept | {"version": 1}, "older framewave"),
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
