"""metrics.json is as its description says, and the description is what is in the repository."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.metrics.forecast import (
    baseline_scores,
    chain_forecasts,
    forecast_scores,
    future_labels,
)
from pipeline.metrics.metrics_schema import Evaluated, checked
from pipeline.metrics.segments import event_list_scores, timeline_scores
from pipeline.metrics.task_metrics_schema import (
    EventsMetrics,
    ForecastMetrics,
    TimelineMetrics,
    described,
)
from tests.helpers.metrics_samples import clips, metrics_of

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def test_what_is_made_is_as_described() -> None:
    metrics = metrics_of(clips())
    assert checked(metrics) is metrics
    few = metrics_of(clips(3, 1))
    assert checked(few)["calibration"] is None


@pytest.mark.parametrize(
    ("path", "value"),
    [(("version",), 1), (("accuracy",), 1.2), (("news",), 1), (("per_class", "cat", "f1"), None)],
)
def test_anything_else_is_our_mistake(path: tuple[str, ...], value: object) -> None:
    metrics = copy.deepcopy(metrics_of(clips()))
    target = metrics
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ValidationError):
        checked(metrics)


def test_the_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text() == described() + "\n", "write described() into docs/metrics.md"


LABELS = ("background", "cat", "dog")
TIMELINES = st.lists(
    st.lists(st.integers(-1, 2), min_size=2, max_size=12).map(lambda v: np.array(v, np.int64)),
    min_size=1, max_size=4,
)  # fmt: skip


def common() -> dict:
    metrics = metrics_of(clips())
    return {key: metrics[key] for key in Evaluated.model_fields}


def of_task(scores: dict, baselines: dict) -> dict:
    return {**common(), **scores, "baselines": baselines}


@settings(deadline=None, max_examples=30)
@given(TIMELINES, st.integers(0, 10_000))
def test_scores_of_any_timelines_are_as_described(truths, seed: int) -> None:
    """Also without segments, or of a single file."""
    assume(any((truth >= 0).any() for truth in truths))
    rng = np.random.default_rng(seed)
    pairs = [(truth, rng.integers(0, 3, truth.size)) for truth in truths]
    groups = [str(k) for k in range(len(pairs))]
    for background in ("background", "not a class"):
        scores = timeline_scores(pairs, groups, LABELS, background, 1.0)
        assert checked(of_task(scores, {}), TimelineMetrics)

    futures = [future_labels(truth, 3) for truth in truths]
    if not any((each >= 0).any() for each in futures):
        return
    mine = [rng.integers(0, 3, each.shape) for each in futures]
    known = [np.array([0, 1, 2, 2], np.int64)]
    found = baseline_scores(futures, mine, chain_forecasts(known, truths, 3, 3), groups)
    details = {"step_s": 1.0, "horizon_steps": 3, "history_steps": None,
               "form": "sequence_to_sequence"}  # fmt: skip
    scores = forecast_scores(futures, mine, groups) | details
    assert checked(of_task(scores, found), ForecastMetrics)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from("ab"), max_size=3)] * 2), min_size=1))
def test_scores_of_any_lists_are_as_described(pairs) -> None:
    scores = event_list_scores(pairs, [str(k) for k in range(len(pairs))])
    assert checked(of_task(scores, {}), EventsMetrics)
