"""What compare takes of an evaluation, and which ones it sets side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.comparing.judged import Judged, read_judged, refuse_other_clips
from pipeline.errors import UserError
from tests.metrics_samples import AUDIT, clips, kept_evaluation


def _judged(on: str = "other data", **audit: object) -> Judged:
    return Judged("a", {}, {"evaluated_on": on, "audit": {**AUDIT, **audit}, "reproduction": {}})


def _unaudited(on: str) -> Judged:
    return Judged("a", {}, {"evaluated_on": on, "audit": None, "reproduction": {}})


def test_what_was_trained_on_is_known_or_not() -> None:
    assert _judged("test split", trained_on=0).trained_on == 0
    assert _judged(trained_on=7).trained_on == 7
    assert _judged(with_training=False).trained_on is None
    assert _judged(with_training=False, trained_on=3).trained_on == 3
    assert _unaudited("other data").trained_on is None
    assert _unaudited("out of fold").trained_on == 0


def test_a_model_begun_from_another_may_have_seen_its_own_test_clips() -> None:
    begun = {"reproduction": {"begun_from": "0123"}, "evaluated_on": "test split"}
    assert Judged("a", {}, begun | {"audit": {**AUDIT, "trained_on": 3}}).trained_on == 3
    assert Judged("a", {}, begun | {"audit": None}).trained_on is None
    gone = begun | {"audit": {**AUDIT, "with_training": False}}
    assert Judged("a", {}, gone).trained_on is None


def test_leaking_clips_are_counted() -> None:
    near = {"n": 9, "n_leaking": 4, "example": None}
    assert _judged(judged=near).leaking == 4
    assert (
        Judged("a", {}, {"evaluated_on": "test split", "audit": None, "reproduction": {}}).leaking
        is None
    )
    assert _judged(with_training=False).leaking is None


def test_a_run_or_its_evaluation_have_the_runs_name(tmp_path: Path) -> None:
    run = kept_evaluation(tmp_path / "first", clips(10))
    assert read_judged(run).name == read_judged(run / "eval").name == "first"


def test_the_same_clips_with_the_same_labels_pass_and_no_others(tmp_path: Path) -> None:
    judged = clips(10)
    one = read_judged(kept_evaluation(tmp_path / "one", judged))
    same = read_judged(kept_evaluation(tmp_path / "same", clips(10, seed=3)))
    refuse_other_clips([one, same])
    part = replace(judged[0], row=replace(judged[0].row, start_s=1.0))
    other = read_judged(kept_evaluation(tmp_path / "other", [part, *judged[1:]]))
    with pytest.raises(UserError, match="1 only in one, 1 only in other"):
        refuse_other_clips([one, same, other])
