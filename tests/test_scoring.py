"""All numbers of an evaluation together: they are of the same clips, failures counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.status import Status
from pipeline.evaluating.baselines import BaselineAnswer
from pipeline.evaluating.clips import EvaluatedClip
from pipeline.evaluating.scoring import baseline_scores, data_scores, model_scores
from pipeline.records.predictions import Prediction
from tests.metrics_samples import LABELS, clips


def test_numbers_are_of_the_same_clips() -> None:
    judged = clips(120, 24)
    found = model_scores(judged, LABELS)
    right = np.array([c.prediction.predicted(LABELS) == c.row.label for c in judged])
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["n_groups"] == 24
    assert found["groups_known"]
    whole = max(found["coverage"], key=lambda point: point["coverage"])
    assert whole["accuracy"] == pytest.approx(right.mean())
    assert found["calibration"]["accuracy"] == pytest.approx(right.mean())


def test_clips_that_are_their_own_groups_have_no_known_ones() -> None:
    judged = [replace(c, row=replace(c.row, group=c.row.path)) for c in clips(30)]
    assert not model_scores(judged, LABELS)["groups_known"]
    bare = [replace(c, row=replace(c.row, group="")) for c in clips(30)]
    found = model_scores(bare, LABELS)
    assert (found["groups_known"], found["n_groups"]) == (False, 30)


def test_clips_of_no_group_among_others_are_counted() -> None:
    judged = clips(40, 8)
    bare = [
        replace(c, row=replace(c.row, group="" if k else c.row.path))
        for k, c in enumerate(judged[:3])
    ]
    found = model_scores([*bare, *judged[3:]], LABELS)
    assert (found["groups_known"], found["n_without_group"]) == (True, 3)
    assert model_scores(judged, LABELS)["n_without_group"] == 0


def test_parts_of_one_file_are_of_one_group_and_the_file_names_it() -> None:
    judged = clips(12)
    parts = [
        replace(c, row=replace(c.row, path="/v/long.mp4", group="", start_s=k, end_s=k + 1))
        for k, c in enumerate(judged[:8])
    ]
    rest = [replace(c, row=replace(c.row, group="")) for c in judged[8:]]
    found = model_scores([*parts, *rest], LABELS)
    assert (found["groups_known"], found["n_groups"], found["n_without_group"]) == (True, 5, 4)
    assert found["largest_group"] == {"name": "long.mp4", "n": 8}


@pytest.mark.parametrize(("n_sure", "told"), [(9, False), (10, True)])
def test_how_right_it_is_where_it_is_sure_needs_ten_clips(n_sure: int, told: bool) -> None:
    judged = [*clips(n_sure, sure=(0.95, 0.99)), *clips(50, sure=(0.4, 0.6))]
    assert (model_scores(judged, LABELS)["sure"] is not None) == told


def test_failures_are_counted_by_label_and_status() -> None:
    judged = clips(12)
    row = judged[0].row
    failed = EvaluatedClip(row, Prediction(row.path, Status.UNREADABLE, "no"), None)
    found = data_scores([*judged, failed], LABELS)
    assert found["statuses"] == {"ok": 12, "unreadable": 1}
    assert found["per_label"]["cat"]["failed"] == 1
    assert found["per_label"]["cat"]["clips"] == 4
    assert found["per_label"]["dog"]["with_sound"] == sum(
        bool(c.prediction.has_audio) for c in judged if c.row.label == "dog"
    )


def test_a_baseline_that_names_one_label_says_which() -> None:
    truth = ["cat", "dog", "owl", "cat"] * 5
    groups = [str(k) for k in range(20)]
    answers = {
        "majority": BaselineAnswer(["cat"] * 20),
        "logistic_mean": BaselineAnswer(["cat", "dog"] * 10, 0.1),
    }
    found = baseline_scores(answers, truth, truth, groups, LABELS)
    assert found["majority"]["always"] == "cat"
    assert "always" not in found["logistic_mean"]
    assert found["logistic_mean"]["regularisation_c"] == 0.1
    assert found["majority"]["difference"]["mean"] == pytest.approx(0.5)
