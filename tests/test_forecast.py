"""Forecasts: futures, the chains of past labels, scores; the task; the way through the command
line."""

from __future__ import annotations

import csv
import json
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, LabelledSegment
from data_prep.settings import ClipSettings, TaskSettings
from data_prep.status import Status
from models.settings import ModelSettings
from pipeline.cli.demo_timeline import plan_schedules, transitions, write_labels, write_schedule
from pipeline.errors import UserError
from pipeline.features.samples import LabelledSample, Sample
from pipeline.metrics.forecast import (
    BEST,
    baseline_scores,
    chain_forecasts,
    elapsed_steps,
    forecast_scores,
    future_labels,
)
from pipeline.tasks import get_task
from pipeline.tasks.base import HeldOutRows
from tests.conftest import framewave

TIMELINES = st.lists(
    st.lists(st.integers(-1, 2), min_size=1, max_size=25).map(lambda v: np.array(v, np.int64)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(TIMELINES, st.integers(1, 9))
def test_futures_are_the_next_labels(timelines, horizon: int) -> None:
    for timeline in timelines:
        found = future_labels(timeline, horizon)
        assert found.shape == (timeline.size, horizon)
        for t, h in product(range(timeline.size), range(horizon)):
            after = t + 1 + h
            assert found[t, h] == (timeline[after] if after < timeline.size else UNKNOWN)
        lasted = elapsed_steps(timeline)
        for t in range(timeline.size):
            start = t
            while start and timeline[start - 1] == timeline[t]:
                start -= 1
            assert lasted[t] == t - start + 1


def plainly_most_probable(known, horizon: int, now: int, lasted: int) -> list[set[int]]:
    """Classes h steps ahead with the highest probability, from all paths one by one."""
    ended, at_risk, following = {}, {}, {}
    for timeline in known:
        t = 0
        while t < len(timeline):
            label, end = timeline[t], t
            while end < len(timeline) and timeline[end] == label:
                end += 1
            known_end = end < len(timeline) and timeline[end] != UNKNOWN
            if label != UNKNOWN:
                for d in range(1, end - t + 1 if known_end else end - t):
                    at_risk[label, d] = at_risk.get((label, d), 0) + 1
                if known_end:
                    ended[label, end - t] = ended.get((label, end - t), 0) + 1
                    key = label, timeline[end]
                    following[key] = following.get(key, 0) + 1
            t = end
    longest = max([1, *(max_run(timeline) for timeline in known)])

    def leave(k: int, d: int) -> float:
        d = min(d, longest)
        rate = (sum(n for (j, _), n in ended.items() if j == k) + 0.5) / (
            sum(n for (j, _), n in at_risk.items() if j == k) + 1
        )
        return (ended.get((k, d), 0) + rate) / (at_risk.get((k, d), 0) + 1)

    def next_class(k: int, j: int) -> float:
        total = sum(following.get((k, i), 0) for i in range(3)) + 1
        return 0.0 if j == k else (following.get((k, j), 0) + 0.5) / total

    def after(k: int, d: int, h: int) -> np.ndarray:
        if h == 0:
            return np.eye(3)[k]
        leaves = sum(next_class(k, j) * after(j, 1, h - 1) for j in range(3) if j != k)
        return (1 - leave(k, d)) * after(k, d + 1, h - 1) + leave(k, d) * leaves

    best = []
    for h in range(1, horizon + 1):
        p = after(now, lasted, h)
        best.append(set(np.flatnonzero(p >= p.max() - 1e-9).tolist()))
    return best


def max_run(timeline) -> int:
    longest = run = 0
    for t, label in enumerate(timeline):
        run = run + 1 if t and timeline[t - 1] == label else 1
        longest = max(longest, run if label != UNKNOWN else 0)
    return longest


@settings(max_examples=60)
@given(TIMELINES, st.integers(0, 2))
def test_the_chain_of_segments_equals_a_sum_over_all_paths(known, first: int) -> None:
    known = [*known, np.array([first, first, (first + 1) % 3], np.int64)]  # some known step
    found = chain_forecasts(known, known, 3, 3)["segment_chain"]
    for timeline, future in zip(known, found, strict=True):
        lasted = elapsed_steps(timeline)
        t = int(np.flatnonzero(timeline != UNKNOWN)[-1]) if (timeline != UNKNOWN).any() else None
        if t is not None:
            best = plainly_most_probable(known, 3, int(timeline[t]), int(lasted[t]))
            assert all(int(future[t, h]) in best[h] for h in range(3))


@given(TIMELINES)
def test_persistence_frequency_and_markov_chain(known) -> None:
    known = [*known, np.array([0, 1, 1, 2, 1, 1], np.int64)]
    found = chain_forecasts(known, known, 3, 4)
    labels = np.concatenate(known)
    counts = np.bincount(labels[labels != UNKNOWN], minlength=3)
    step = np.full((3, 3), 1 / 3)
    for timeline in known:
        for a, b in pairwise(timeline.tolist()):
            if UNKNOWN not in (a, b):
                step[a, b] += 1
    step /= step.sum(axis=1, keepdims=True)
    for number, timeline in enumerate(known):
        for t in range(timeline.size):
            past = [k for k in timeline[: t + 1].tolist() if k != UNKNOWN]
            now = past[-1] if past else int(counts.argmax())  # the last label that is known
            assert (found["persistence"][number][t] == now).all()
            assert (found["most_frequent"][number][t] == counts.argmax()).all()
            p = np.eye(3)[now]
            for h in range(4):
                p = p @ step
                assert p[found["markov_chain"][number][t, h]] >= p.max() - 1e-9


def test_a_cycle_is_known_to_the_chain_of_segments_and_not_to_persistence() -> None:
    cycle = np.tile(np.array([0, 0, 1, 1, 1, 2], np.int64), 6)
    found = chain_forecasts([cycle], [cycle], 3, 5)
    truth = future_labels(cycle, 5)
    known = truth != UNKNOWN
    assert (found["segment_chain"][0] == truth)[known].mean() > 0.97
    assert (found["persistence"][0] == truth)[known].mean() < 0.6


def test_scores_of_a_hand_worked_case() -> None:
    truth = future_labels(np.array([0, 0, 1, 1], np.int64), 2)  # [[0, 1], [1, 1], [1, -], [-, -]]
    model = np.array([[0, 1], [1, 0], [0, 0], [0, 0]], np.int64)
    found = forecast_scores([truth], [model], ["a"])
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert [row["accuracy"] for row in found["by_horizon"]] == pytest.approx([2 / 3, 1 / 2])
    assert [row["n_origins"] for row in found["by_horizon"]] == [3, 2]
    baselines = {"zeros": [np.zeros((4, 2), np.int64)], "ones": [np.ones((4, 2), np.int64)]}
    scores = baseline_scores([truth], [model], baselines, ["a"])
    assert [row["baseline"] for row in scores[BEST]["by_horizon"]] == ["ones", "ones"]
    gains = [row["difference"]["mean"] for row in scores[BEST]["by_horizon"]]
    assert gains == pytest.approx([0, -1 / 2])
    assert scores["zeros"]["difference"]["mean"] == pytest.approx(3 / 5 - 1 / 5)
    assert scores[BEST]["by_horizon"][0]["difference"]["low"] is None  # one group
    with pytest.raises(ValueError, match="no future label is known"):
        forecast_scores([np.full((3, 2), UNKNOWN)], [model[:3]], ["a"])


def test_unknown_futures_change_no_score() -> None:
    timeline = np.array([0, 0, UNKNOWN, UNKNOWN, 1, 1, 0], np.int64)
    truth = future_labels(timeline, 3)
    rng = np.random.default_rng(0)
    model = rng.integers(0, 2, truth.shape)
    other = np.where(truth == UNKNOWN, 1 - model, model)
    assert forecast_scores([truth], [model], ["a"]) == forecast_scores([truth], [other], ["a"])


def test_baselines_know_a_class_that_no_known_file_has() -> None:
    task = get_task(TaskSettings(name="forecast", horizon_steps=1), 1.0)

    def item(*labels: str) -> LabelledSample:
        n = len(labels)
        shown = torch.ones(n, dtype=torch.bool)
        return LabelledSample(
            file_of(*labels), Sample(torch.zeros(n, 2), torch.zeros(n, 1), shown, shown, ())
        )

    found = task.fit_baselines([item("a", "b", "a")], [item("z", "z", "a")])
    assert found["persistence"].predicted == ["z\nz\na"]


def test_what_the_task_writes_and_what_it_refuses() -> None:
    task = get_task(TaskSettings(name="forecast", horizon_steps=2), 1.0)
    row = ManifestRow("/a.mp4", label="cat", segments=(LabelledSegment(1, 3, "cat"),),
                      duration_s=5.0)  # fmt: skip
    labels = ("background", "cat")
    targets = task.targets(row, 5, labels).reshape(5, 3)  # the present step, and the next two
    assert (targets[:, 0] == UNKNOWN).all()  # it is trained, but no forecast
    assert targets[:, 1:].tolist() == [[1, 1], [1, 0], [0, 0], [0, UNKNOWN], [UNKNOWN, UNKNOWN]]
    trained = task.training_targets(row, 5, labels).reshape(5, 3)
    assert trained[:, 0].tolist() == [0, 1, 1, 0, 0]
    assert torch.equal(trained[:, 1:], targets[:, 1:])
    probabilities = np.array([[0.9, 0.1]] * 13 + [[0.2, 0.8], [0.7, 0.3]])
    assert task.columns(labels) == ["predicted", "probability", "next_1", "probability_1",
                                    "next_2", "probability_2"]  # fmt: skip
    cells = ["cat", "0.800000", "cat", "0.800000", "background", "0.700000"]
    assert task.cells(probabilities, labels, 0) == cells
    assert task.cells(probabilities[-3:], labels, 0) == cells  # as classify keeps them
    assert task.cells(None, labels, 0) == [""] * 6
    assert task.decision_score(row, "\n".join(["background"] * 10)) == pytest.approx(4 / 7)
    with pytest.raises(UserError, match=r"needs clip\.causal=true"):
        task.check_settings(ClipSettings(), ModelSettings())
    with pytest.raises(UserError, match=r"cannot use model\.bidirectional=true"):
        task.check_settings(ClipSettings(causal=True), ModelSettings(bidirectional=True))
    task.check_settings(ClipSettings(causal=True), ModelSettings())


def file_of(*labels: str) -> ManifestRow:
    """A file of one step for each label."""
    parts = tuple(LabelledSegment(k, k + 1, label) for k, label in enumerate(labels))
    return ManifestRow("/a.mp4", label=";".join(labels), segments=parts, status=Status.OK,
                       duration_s=float(len(labels)))  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 19))
def test_pooled_forecasts_know_no_later_step(seed: int, n_before: int) -> None:
    rng = np.random.default_rng(seed)
    task = get_task(TaskSettings(name="forecast", horizon_steps=2), 1.0)
    labels = ("a", "b")
    rows = [file_of(*rng.choice(labels, 20)) for _ in range(3)]
    task = task.with_state(task.fit_state(rows, labels))
    one, other = rng.dirichlet(np.ones(2), (2, 60))
    held_out = [HeldOutRows(rows[0], one, task), HeldOutRows(rows[1], other, task)]
    task = task.with_state(task.state | task.fit_postprocessing(held_out, labels))
    task = task.with_state(json.loads(json.dumps(task.state)))  # as a model card stores it
    assert np.allclose(task.postprocess(one).sum(axis=1), 1)
    n_rows = n_before * task.rows_per_step
    other[:n_rows] = one[:n_rows]
    assert np.array_equal(task.postprocess(one)[:n_rows], task.postprocess(other)[:n_rows])


def test_a_network_that_guesses_leaves_the_forecast_to_the_chain() -> None:
    rng = np.random.default_rng(0)
    task = get_task(TaskSettings(name="forecast", horizon_steps=3), 1.0)
    labels = ("a", "b", "c")
    cycle = ("a", "a", "b", "b", "b", "c") * 10
    task = task.with_state(task.fit_state([file_of(*cycle)], labels))
    rows = rng.dirichlet(np.ones(3), (60, 4))
    rows[:, 0] = 0.1 + 0.7 * np.eye(3)[[labels.index(name) for name in cycle]]  # it sees the step
    clip = HeldOutRows(file_of(*cycle), rows.reshape(-1, 3), task)
    task = task.with_state(task.state | task.fit_postprocessing([clip], labels))
    decision = task.decision(task.postprocess(clip.probabilities), labels)
    assert task.decision_score(clip.row, decision) > 0.95


@pytest.mark.end_to_end
def test_from_labelled_segments_to_a_forecast(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    schedules = plan_schedules(tmp_path, [30.0] * 8, transitions(rng), rng)
    for schedule in schedules:
        write_schedule(schedule)
    write_labels(tmp_path / "labels.csv", schedules)
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    work, small = tmp_path / "work", ["model.frame_encoder=efficientnet_lite0"]
    refused = framewave("prep", tmp_path / "labels.csv", "--work", work, "task=forecast", *small,
                        check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "task=forecast needs clip.causal=true" in refused.stderr
    # the same prepared clips serve timelines too
    framewave("prep", tmp_path / "labels.csv", "--work", work, "task=timeline", "clip.causal=true",
              "train.mirror=never", *small)  # fmt: skip
    vector = ["task.form=sequence_to_vector", "task.history_steps=10", "task.horizon_steps=3"]
    for name, settings_ in (("sequence", []), ("vector", vector)):
        run, horizon = tmp_path / name, 3 if settings_ else 7
        framewave("train", "--work", work, "--run", run, "task=forecast", *settings_,
                  "train.max_epochs=2", "train.mirror=never")  # fmt: skip
        printed = framewave("eval", "--run", run, "--no-audit").stdout
        assert "Its skill, the accuracy above that of the best baseline" in " ".join(
            printed.split()
        )
        metrics = json.loads((run / "eval" / "metrics.json").read_text())
        assert len(metrics["by_horizon"]) == horizon
        assert set(metrics["baselines"]) == {
            "persistence", "most_frequent", "markov_chain", "segment_chain", BEST,
        }  # fmt: skip
        assert "Accuracy by horizon" in (run / "eval" / "report.html").read_text("utf-8")
        words = metrics["reproduction"]["commands"]
        assert "task.name=timeline" in words[0]
        assert "task.name=forecast" in words[1]

        out = tmp_path / f"{name}.csv"
        framewave("classify", tmp_path, "--run", run, "--out", out)
        rows = list(csv.DictReader(out.open()))
        assert {row["status"] for row in rows if not row["predicted"]} >= {"unreadable"}
        done = [row for row in rows if row["status"] == "ok"]
        assert len(done) == 8
        assert all(row[f"next_{horizon}"] and row["predicted"] == row["next_1"] for row in done)
        before = out.read_bytes()
        framewave("classify", tmp_path, "--run", run, "--out", out)
        assert out.read_bytes() == before

    # a horizon that is longer than the files has steps without any origin
    far = tmp_path / "far"
    framewave("train", "--work", work, "--run", far, "task=forecast", "task.horizon_steps=32",
              "train.max_epochs=1", "train.mirror=never")  # fmt: skip
    framewave("eval", "--run", far, "--no-audit")
    assert "30 s later" not in (far / "eval" / "report.html").read_text("utf-8")
    refused = framewave("train", "--work", work, "--run", tmp_path / "y", "task=forecast", "--from",
                        far, check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "it was trained with task.horizon_steps=32, not 7" in " ".join(refused.stderr.split())

    # one folder was prepared for timelines: whole clips have no labels there
    refused = framewave("train", "--work", work, "--run", tmp_path / "x", "task=clip_label",
                        check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "was prepared for task=timeline, not task=clip_label" in refused.stderr
