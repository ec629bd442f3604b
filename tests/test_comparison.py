"""What compare takes of an evaluation, and which ones it sets side by side.

Comparing runs: the same clips only, each clip against itself.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.status import Status
from pipeline.errors import UserError
from pipeline.evaluation.comparison import (
    EvaluatedRun,
    compare,
    read_evaluated_run,
    refuse_other_clips,
)
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.report.comparison_report import comparison_text
from pipeline.storage.predictions import Prediction
from tests.conftest import framewave
from tests.helpers.metrics_samples import AUDIT, LABELS, clips, kept_evaluation


def _judged(on: str = "other data", **audit: object) -> EvaluatedRun:
    return EvaluatedRun(
        "a", {}, {"evaluated_on": on, "audit": {**AUDIT, **audit}, "reproduction": {}}
    )


def _unaudited(on: str) -> EvaluatedRun:
    return EvaluatedRun("a", {}, {"evaluated_on": on, "audit": None, "reproduction": {}})


def test_what_was_trained_on_is_known_or_not() -> None:
    assert _judged("test split", trained_on=0).trained_on == 0
    assert _judged(trained_on=7).trained_on == 7
    assert _judged(with_training=False).trained_on is None
    assert _judged(with_training=False, trained_on=3).trained_on == 3
    assert _unaudited("other data").trained_on is None
    assert _unaudited("out of fold").trained_on == 0


def test_a_model_begun_from_another_may_have_seen_its_own_test_clips() -> None:
    begun = {"reproduction": {"begun_from": "0123"}, "evaluated_on": "test split"}
    assert EvaluatedRun("a", {}, begun | {"audit": {**AUDIT, "trained_on": 3}}).trained_on == 3
    assert EvaluatedRun("a", {}, begun | {"audit": None}).trained_on is None
    gone = begun | {"audit": {**AUDIT, "with_training": False}}
    assert EvaluatedRun("a", {}, gone).trained_on is None


def test_leaking_clips_are_counted() -> None:
    near = {"n": 9, "n_leaking": 4, "example": None}
    assert _judged(judged=near).leaking == 4
    assert (
        EvaluatedRun(
            "a", {}, {"evaluated_on": "test split", "audit": None, "reproduction": {}}
        ).leaking
        is None
    )
    assert _judged(with_training=False).leaking is None


def test_a_run_or_its_evaluation_have_the_runs_name(tmp_path: Path) -> None:
    run = kept_evaluation(tmp_path / "first", clips(10))
    assert read_evaluated_run(run).name == read_evaluated_run(run / "eval").name == "first"


def test_the_same_clips_with_the_same_labels_pass_and_no_others(tmp_path: Path) -> None:
    judged = clips(10)
    one = read_evaluated_run(kept_evaluation(tmp_path / "one", judged))
    same = read_evaluated_run(kept_evaluation(tmp_path / "same", clips(10, seed=3)))
    refuse_other_clips([one, same])
    part = replace(judged[0], row=replace(judged[0].row, start_s=1.0))
    other = read_evaluated_run(kept_evaluation(tmp_path / "other", [part, *judged[1:]]))
    with pytest.raises(UserError, match="1 only in one, 1 only in other"):
        refuse_other_clips([one, same, other])


def _failed(clip: EvaluatedClip) -> EvaluatedClip:
    return replace(clip, prediction=Prediction(clip.row.path, Status.CRASHED, "died"))


def test_the_difference_is_clip_by_clip(tmp_path: Path) -> None:
    a = kept_evaluation(tmp_path / "a", clips(200, 40, 0.6, seed=1))
    b = kept_evaluation(tmp_path / "b", clips(200, 40, 0.9, seed=2))
    found = compare([a, b], tmp_path / "out")
    other = found.others[0]
    assert other.difference.mean == pytest.approx(
        other.scores["accuracy"] - found.first["accuracy"]
    )
    assert len(other.gained) - len(other.lost) == pytest.approx(200 * other.difference.mean)
    assert other.difference.low > 0
    kept = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert kept["others"][0]["gained"] == len(other.gained)
    assert set(kept["others"][0]["recall_differences"]) == set(LABELS)
    with (tmp_path / "out" / "changed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["predicted_a"] != row["predicted_b"] for row in rows)
    assert len(rows) >= len(other.gained) + len(other.lost)


def test_groups_are_of_the_run_that_knows_them_in_either_order(tmp_path: Path) -> None:
    judged = clips(120, 12, 0.6, seed=1)
    bare = [replace(clip, row=replace(clip.row, group="")) for clip in judged]
    a = kept_evaluation(tmp_path / "a", bare)
    b = kept_evaluation(tmp_path / "b", clips(120, 12, 0.9, seed=2))
    one, other = compare([a, b]).others[0].difference, compare([b, a]).others[0].difference
    assert one.n_groups == other.n_groups == 12
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_of_many_labels_one_alone_is_sure_only_by_a_stricter_interval(tmp_path: Path) -> None:
    labels = tuple("abcdefgh")

    def run(name: str, n_wrong: int) -> Path:
        """All right but for some clips of the first label."""
        judged = clips(8 * 40, 8 * 40, 1.0, labels)
        for k in range(0, 8 * n_wrong, 8):
            chances = judged[k].prediction.probabilities[::-1].copy()
            judged[k] = replace(
                judged[k], prediction=replace(judged[k].prediction, probabilities=chances)
            )
        return kept_evaluation(tmp_path / name, judged, labels)

    first = run("first", 12)
    faint = compare([first, run("faint", 7)]).others[0]
    assert faint.per_class["a"].low > 0  # by itself no chance, but one of eight may be
    assert faint.significant_classes == []
    assert compare([first, run("clear", 0)]).others[0].significant_classes == ["a"]


def test_a_run_is_not_better_than_itself(tmp_path: Path) -> None:
    a = kept_evaluation(tmp_path / "a", clips(60))
    b = kept_evaluation(tmp_path / "b", clips(60))
    found = compare([a, b])
    assert comparison_text(found) == ["b has the same accuracy as a."]
    with pytest.raises(UserError, match="named twice"):
        compare([a, a])


def test_other_clips_or_labels_are_refused(tmp_path: Path) -> None:
    judged = clips(30)
    a, b = kept_evaluation(tmp_path / "a", judged), kept_evaluation(tmp_path / "b", judged[:-1])
    with pytest.raises(UserError, match="different clips: 1 only in a, 0 only in b"):
        compare([a, b])
    relabelled = replace(judged[0], row=replace(judged[0].row, label="owl"))
    c = kept_evaluation(tmp_path / "c", [relabelled, *judged[1:]])
    with pytest.raises(UserError, match="has the label 'cat' in a and 'owl' in c"):
        compare([a, c])
    with pytest.raises(UserError, match="at least two runs"):
        compare([a])
    with pytest.raises(UserError, match="was not evaluated"):
        compare([a, tmp_path / "nowhere"])


def test_clips_that_one_could_not_judge_are_left_out_and_counted(tmp_path: Path) -> None:
    judged = clips(30)
    a = kept_evaluation(tmp_path / "a", judged)
    b = kept_evaluation(tmp_path / "b", [_failed(judged[0]), *judged[1:]])
    found = compare([a, b])
    assert len(found.keys) == 29
    assert comparison_text(found)[-1] == (
        "1 clip is left out because not all runs could classify it."
    )
    none = kept_evaluation(tmp_path / "none", [_failed(clip) for clip in judged])
    with pytest.raises(UserError, match="no clip has a prediction from all"):
        compare([a, none])


def test_a_folder_that_eval_wrote_will_do_and_names_are_told_apart(tmp_path: Path) -> None:
    a = kept_evaluation(tmp_path / "x" / "run", clips(30))
    b = kept_evaluation(tmp_path / "y" / "run", clips(30, seed=5))
    assert read_evaluated_run(a / "eval").clips == read_evaluated_run(a).clips
    names = [run.name for run in compare([a, b]).runs]
    assert names == [str(a), str(b)]


def test_many_labels_do_not_make_one_of_them_sure(tmp_path: Path) -> None:
    """Two models that are right equally often: of twenty labels none is told apart."""
    labels = tuple(f"label {k:02d}" for k in range(20))
    told_apart = 0
    for seed in range(6):
        folders = []
        for name in "ab":
            judged = clips(400, 40, 0.7, labels, seed=10 * seed + ord(name))
            folder = kept_evaluation(tmp_path / f"{name}{seed}", judged, labels)
            folders.append(folder)
        told_apart += bool(compare(folders).others[0].significant_classes)
    assert told_apart <= 1


@pytest.mark.end_to_end
def test_the_command_says_it_all(tmp_path: Path) -> None:
    a = kept_evaluation(tmp_path / "a", clips(200, 40, 0.6, seed=1))
    b = kept_evaluation(tmp_path / "b", clips(200, 40, 0.9, seed=2))
    done = framewave("compare", a, b, "--out", tmp_path / "out")
    assert "points better than a (95 % interval" in done.stdout
    assert "changed.csv" in done.stdout
    refused = framewave("compare", a, tmp_path, check=False)
    assert refused.returncode == 2
    assert "was not evaluated" in refused.stderr
