"""Forecasts of numbers: their CSV files, scores and baselines; the task; the way through the
command line."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.annotations.listing import list_data_set
from data_prep.annotations.table import read_numbers
from data_prep.dataset.scan import scan
from data_prep.manifest import ManifestRow, read_manifest
from data_prep.media.probe import MediaInfo
from data_prep.media.pyav_media import ClipWriter
from data_prep.segments import UNKNOWN, LabelledSegment, step_numbers
from data_prep.settings import LabelSettings, LimitSettings, SplitSettings, TaskSettings
from data_prep.status import DataSetError, Status
from pipeline.errors import UserError
from pipeline.metrics.forecast import BEST
from pipeline.metrics.series import (
    MEAN,
    NAIVE,
    SEASONAL,
    future_numbers,
    quantile_edges,
    season_steps,
    series_baseline_scores,
    series_baselines,
    series_scores,
)
from pipeline.report.sections.series import error_text, lower_text, sentences
from pipeline.tasks import get_task
from tests.conftest import framewave

SETTINGS = TaskSettings(name="forecast", target="level", horizon_steps=2)
NUMBERS = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 2))
MAYBE = st.one_of(NUMBERS, st.just(np.nan))


def series_of(tmp_path: Path, text: str) -> list[tuple[float, float]]:
    path = tmp_path / "series.csv"
    path.write_text(text)
    return [(each.start_s, float(each.label)) for each in read_numbers(path)]


def test_numbers_of_each_second_or_with_times(tmp_path: Path) -> None:
    # a blank line is a second without a number
    assert series_of(tmp_path, "level\n1\n\n-2.5\nna\n1e3\n") == [(0, 1), (2, -2.5), (4, 1000)]
    assert series_of(tmp_path, 'level\n""\n3\n') == [(1, 3)]
    timed = [(0, 1), (0.5, 2), (60.25, 4)]
    assert series_of(tmp_path, "time_s,x\n0,1\n0.5,2\n1,\n1:00.25,4\n") == timed
    assert series_of(tmp_path, "x;Start (s)\n1;0\n2;0,5\n3,5;0,75\n") == [
        (0, 1), (0.5, 2), (0.75, 3.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level\n1\ntwo\n", r"series\.csv, line 3: 'two' is not a number"),
        ("level\n1\ninf\n", r"line 3: 'inf' is not a number"),
        ("level\n1_0\n", r"line 2: '1_0' is not a number"),
        ("time_s,x\n0,1\n2,1\n2,3\n", r"line 4: the time 2 s is not after the one before, 2 s"),
        ("time_s,x\n0,1\n,1\n", r"line 3: the time is empty"),
        ("time_s,x\n-1,1\n", r"line 2: '-1' is not a time"),
        ("level\n", r"series\.csv has a header but no number"),
        ("level\nna\n", r"has a header but no number"),
        ("", r"series\.csv is empty; it needs a header line and numbers"),
        ("1\n2\n", r"the first line is a number"),
        ("a,b\n1,2\n", r"has several columns of numbers \(a, b\)"),
        ("time_s\n1\n", r"has no column of numbers \(time_s\)"),
    ],
)
def test_faults_of_a_series_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        series_of(tmp_path, text)


def listing_of(tmp_path: Path, text: str) -> list[ManifestRow]:
    (tmp_path / "table.csv").write_text(text)
    return list_data_set(tmp_path / "table.csv", LabelSettings(), SETTINGS).rows


def test_a_table_names_a_series_for_each_file(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "far").mkdir()
    (tmp_path / "a.csv").write_text("level\n1\n2\n")
    (tmp_path / "far" / "b.csv").write_text("level\n3\n")
    rows = listing_of(
        tmp_path, f"path,Level,group,label\na.mp4,a.csv,x,p\nb.mp4,{tmp_path}/far/b.csv,y,q\n"
        "c.mp4,,y,q\n"
    )  # fmt: skip
    assert [(row.label, row.group, [s.label for s in row.segments]) for row in rows] == [
        ("level", "x", ["1.0", "2.0"]), ("level", "y", ["3.0"]), ("", "y", []),
    ]  # fmt: skip
    for text, message in (
        ("path,other\na.mp4,a.csv\n", r"task\.target=level: .* no such column; .* path, other"),
        ("path,level\na.mp4,gone.csv\n", r"level of .*a\.mp4: there is no file .*gone\.csv"),
        ("path,level\na.mp4,a.csv\na.mp4,far/b.csv\n", r"names .*a\.mp4 twice"),
        ("path,level,start_s\na.mp4,a.csv,3\n", r"a line names a whole file"),
    ):
        with pytest.raises(DataSetError, match=message):
            listing_of(tmp_path, text)
    with pytest.raises(DataSetError, match=r"is a folder; with task\.target=level"):
        list_data_set(tmp_path, LabelSettings(), SETTINGS)


def test_numbers_that_are_mostly_after_the_end_are_refused(tmp_path: Path) -> None:
    for name, n in (("short", 10), ("longer", 18), ("frames", 250)):
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.csv").write_text("x\n" + "1\n2\n" * (n // 2))
    (tmp_path / "table.csv").write_text(
        "path,level\n"
        + "".join(f"{name}.mp4,{name}.csv\n" for name in ("short", "longer", "frames"))
    )
    video = MediaInfo("mp4", has_video=True, has_audio=False, duration_s=10.0, zero_s=0.0)
    found = scan(
        tmp_path / "table.csv", tmp_path / "work", SplitSettings(), LimitSettings(),
        lambda paths: [video] * len(paths), in_time=SETTINGS,
    )  # fmt: skip
    status = {Path(row.path).stem: (row.status, row.error) for row in found.rows}
    assert status["short"][0] == status["longer"][0] == Status.OK
    assert "(frames.csv, line 127) begins at 125 s, the file ends at 10 s" in status["frames"][1]
    assert "are the times seconds, not milliseconds or frame numbers?" in status["frames"][1]
    rows = {Path(row.path).stem: row for row in read_manifest(tmp_path / "work" / "manifest.csv")}
    for row in found.rows:
        assert rows[Path(row.path).stem].segments == row.segments


@given(st.lists(st.tuples(st.integers(0, 99), NUMBERS), max_size=30), st.integers(1, 12))
def test_the_number_of_a_step_is_the_mean_of_those_in_it(found, n_steps: int) -> None:
    segments = [LabelledSegment(tenths / 10, tenths / 10, repr(x)) for tenths, x in found]
    numbers = step_numbers(segments, n_steps, 0.5)
    for step in range(n_steps):
        inside = [x for tenths, x in found if tenths // 5 == step]
        assert numbers[step] == pytest.approx(np.mean(inside) if inside else np.nan, nan_ok=True)


@given(st.lists(NUMBERS, min_size=1, max_size=200), st.integers(2, 16))
def test_bins_are_filled_and_about_equal(numbers: list[float], most: int) -> None:
    edges = quantile_edges(np.array(numbers), most)
    assert bool(edges) == (len(set(numbers)) > 1)
    counts = np.bincount(np.searchsorted(edges, numbers), minlength=len(edges) + 1)
    assert len(counts) <= most
    assert (counts > 0).all()
    distinct = len(set(numbers))
    if distinct == len(numbers) and distinct > 10 * most and np.ptp(numbers) > 50:
        assert counts.max() <= 2 * len(numbers) / most


def file_of(*numbers: float, name: str = "a", split: str = "train") -> ManifestRow:
    """A file of one second for each number."""
    parts = tuple(LabelledSegment(k, k, repr(float(x))) for k, x in enumerate(numbers)
                  if not np.isnan(x))  # fmt: skip
    return ManifestRow(f"/{name}.mp4", label="level", segments=parts, status=Status.OK,
                       split=split, duration_s=float(len(numbers)))  # fmt: skip


def test_targets_are_the_bins_of_the_next_numbers() -> None:
    task = get_task(SETTINGS, 1.0)
    row = file_of(1, 3, np.nan, 5, 3)
    labels = task.labels([row, file_of(9, 9, name="b", split="test")])
    assert labels == ("≤ 2", "2 to 4", "> 4")  # of the training numbers alone
    targets = task.targets(row, 4, labels).reshape(4, 3)
    assert (targets[:, 0] == UNKNOWN).all()
    # the fifth number is after the last step
    assert targets[:, 1:].tolist() == [[1, UNKNOWN], [UNKNOWN, 2], [2, 1], [1, UNKNOWN]]
    assert task.training_targets(row, 4, labels).reshape(4, 3)[:, 0].tolist() == [
        0, 1, UNKNOWN, 2,
    ]  # fmt: skip
    state = json.loads(json.dumps(task.fit_state([file_of(1, 2, 4, 6)], labels)))
    assert state["centres"] == [1.5, 4, 6]
    task = task.with_state(state)
    assert task.labels([file_of(100, 200)]) == labels  # other data are scored by the same bins
    rows = np.array([[0.2, 0.5, 0.3]] * 9 + [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]])
    assert np.array_equal(task.postprocess(rows), rows)
    assert task.columns(labels) == ["predicted", "next_1", "next_2"]
    assert task.cells(rows, labels, 0) == ["5", "5", "6"]
    assert task.cells(None, labels, 0) == ["", "", ""]
    right = task.decision_score(row, "\n".join(["3", "0", "0", "7", "5", "9", "1", "0"]))
    assert right == pytest.approx(3 / 5)


def test_a_bin_that_a_fold_lacks_stands_for_its_edges() -> None:
    task = get_task(SETTINGS, 1.0)
    state = task.fit_state([file_of(2, 2)], ("≤ 1", "1 to 3", "3 to 9", "> 9"))
    assert state["centres"] == [1, 2, 6, 9]


def test_series_without_two_numbers_are_refused() -> None:
    with pytest.raises(DataSetError, match=r"no two numbers of task\.target=level"):
        get_task(SETTINGS, 1.0).check_rows([file_of(3, 3, 3)], 100, None)
    with pytest.raises(UserError, match=r"task\.target=level is for task=forecast, not for"):
        get_task(TaskSettings(name="timeline", target="level"))


FUTURES = st.lists(st.integers(1, 6), min_size=1, max_size=4).flatmap(
    lambda sizes: st.tuples(
        *(st.tuples(arrays(float, (n, 3), elements=MAYBE), arrays(float, (n, 3), elements=NUMBERS),
                    arrays(float, (n, 3), elements=NUMBERS)) for n in sizes)
    )
)  # fmt: skip


@settings(deadline=None)
@given(FUTURES)
def test_scores_are_those_of_a_plain_computation(files) -> None:
    truths, model, other = (list(each) for each in zip(*files, strict=True))
    groups = [str(k) for k in range(len(truths))]
    if all(np.isnan(truth).all() for truth in truths):
        with pytest.raises(ValueError, match="no future number"):
            series_scores(truths, model, groups)
        return
    scores = series_scores(truths, model, groups)
    against = series_baseline_scores(truths, model, {NAIVE: other, MEAN: model}, groups)
    json.dumps(against, allow_nan=False)

    def plain(forecasts, h: int) -> list[float]:
        return [
            abs(truth[t, h] - forecast[t, h])
            for truth, forecast in zip(truths, forecasts, strict=True)
            for t in range(len(truth))
            if not np.isnan(truth[t, h])
        ]

    for h, row in enumerate(scores["by_horizon"]):
        mine, theirs = plain(model, h), plain(other, h)
        assert row["n_origins"] == len(mine)
        if not mine:
            assert row["mae"] is None
            continue
        assert row["mae"] == pytest.approx(np.mean(mine))
        naive = against[NAIVE]["by_horizon"][h]
        difference = np.mean(theirs) - np.mean(mine)
        assert naive["difference"]["mean"] == pytest.approx(difference, abs=1e-9)
        if np.mean(theirs) > 1e-6:
            assert naive["skill"] == pytest.approx(1 - np.mean(mine) / np.mean(theirs), abs=1e-6)
        best = against[BEST]["by_horizon"][h]
        assert best["mae"] == pytest.approx(min(np.mean(mine), np.mean(theirs)))
    assert against[MEAN]["difference"]["mean"] == 0
    if row["mae_interval"] is not None:
        assert row["mae_interval"][0] <= row["mae"] <= row["mae_interval"][1]


def test_the_report_says_where_no_baseline_is_better() -> None:
    rng = np.random.default_rng(0)
    truths = [rng.normal(0, 1, (20, 3)) for _ in range(5)]
    for truth in truths:
        truth[:, 2] = np.nan
    model = [np.where([True, False, False], truth, 0.0) for truth in truths]  # right one step ahead
    naive = [np.zeros((20, 3))] * 5
    groups = [str(k) for k in range(5)]
    metrics = series_scores(truths, model, groups) | {
        "step_s": 1.0, "history_steps": 30, "target": "level",
        "baselines": series_baseline_scores(truths, model, {NAIVE: naive}, groups),
    }  # fmt: skip
    said = " ".join(sentences(metrics, "the test split"))
    assert (
        "From the last 30 steps, the mean absolute error of level 1 s later is 0 (0 to 0)" in said
    )
    assert "100 steps of 5 files" in said
    assert "2 s later it is" in said
    assert "3 s later" not in said  # not known
    assert "every baseline 1 steps ahead; at the others it is no better than naive" in said
    last = metrics["baselines"][NAIVE]["by_horizon"][2]
    assert error_text(last) == lower_text(last) == ""


@given(
    st.lists(MAYBE, min_size=4, max_size=60), st.lists(MAYBE, min_size=1, max_size=30),
    st.integers(1, 9),
)  # fmt: skip
def test_baselines_know_the_past_alone(known, test, horizon: int) -> None:
    past, series = np.array([1.0, 2.0, *known]), np.array(test)
    found = series_baselines([past], [series], horizon)
    mean, season = np.nanmean(past), season_steps([past])
    assert (SEASONAL in found) == (season is not None)
    for t in range(series.size):
        before = series[: t + 1]
        seen = before[~np.isnan(before)]
        last = seen[-1] if seen.size else mean
        assert found[NAIVE][0][t] == pytest.approx([last] * horizon)
        assert found[MEAN][0][t] == pytest.approx([mean] * horizon)
        for h in range(1, horizon + 1) if season else ():
            place = t + h
            while place > t:
                place -= season
            ago = series[place] if place >= 0 and not np.isnan(series[place]) else last
            assert found[SEASONAL][0][t, h - 1] == pytest.approx(ago)
    futures = future_numbers(series, series.size, horizon)
    assert futures.shape == (series.size, horizon)
    assert futures[0, 0] == pytest.approx(series[1] if series.size > 1 else np.nan, nan_ok=True)


@pytest.mark.parametrize("season", [4, 7, 24, 120])
def test_the_season_is_found(season: int) -> None:
    rng = np.random.default_rng(season)
    level = np.sin(np.arange(3 * season) * 2 * np.pi / season)
    files = [level + rng.normal(0, 0.05, level.size) for _ in range(3)]
    files[1][3:5] = np.nan
    assert abs(season_steps(files) - season) <= season // 24
    assert season_steps([each[: season + season // 2] for each in files]) != season
    assert season_steps([np.arange(50.0)]) is None
    assert season_steps([np.full(30, 2.0)]) is None


def write_files(folder: Path, n_files: int, n_s: int) -> None:
    """Videos, each with a CSV whose numbers follow the brightness of the picture by 2 s."""
    rng = np.random.default_rng(4)
    lines = ["path,light"]
    for k in range(n_files):
        levels = rng.uniform(20, 235, n_s)
        video = folder / f"recording_{k}.mp4"
        with ClipWriter(video, (64, 48), Fraction(2), 16_000, {"qp": "24"}) as writer:
            for number in range(2 * n_s):
                picture = np.full((48, 64, 3), int(levels[number // 2]), np.uint8)
                writer.add_frame(picture, number, key_frame=number % 8 == 0)
            writer.add_audio(rng.normal(0, 0.01, n_s * 16_000).astype(np.float32))
        numbers = [*rng.uniform(2, 23.5, 2), *levels / 10]  # two more than the video has seconds
        text = "\n".join(f"{number:.3f}" for number in numbers)
        video.with_suffix(".csv").write_text(f"light\n{text}\n")
        lines.append(f"{video.name},{video.stem}.csv")
    (folder / "files.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.end_to_end
def test_from_videos_and_numbers_to_a_forecast(tmp_path: Path) -> None:
    write_files(tmp_path, 7, 30)
    work, run = tmp_path / "work", tmp_path / "run"
    given_ = ["task=forecast", "task.target=light", "task.horizon_steps=3", "clip.causal=true",
              "train.mirror=never", "model.frame_encoder=efficientnet_lite0",
              "model.modalities=picture"]  # fmt: skip
    prepare = ["prep", tmp_path / "files.csv", "--work", work, *given_]
    framewave(*prepare)
    trained = framewave("train", "--work", work, "--run", run, "train.max_epochs=12",
                        "train.mirror=never", "model.modalities=picture")  # fmt: skip
    assert " bins (picture)" in " ".join(trained.stderr.split())
    printed = " ".join(framewave("eval", "--run", run, "--no-audit").stdout.split())
    assert "the mean absolute error of light 1 s later is" in printed
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert {NAIVE, MEAN, BEST} <= set(metrics["baselines"])
    # the picture shows the number of two steps later, which no baseline knows
    assert metrics["baselines"][BEST]["by_horizon"][1]["skill"] > 0.4
    assert metrics["data"]["per_label"]["light"]["clips"] == metrics["n"]
    assert "Error by horizon" in (run / "eval" / "report.html").read_text("utf-8")

    out = tmp_path / "predictions.csv"
    framewave("classify", *sorted(tmp_path.glob("*.mp4"))[:3], "--run", run, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 3
    assert "probability" not in rows[0]
    for row in rows:
        true = (tmp_path / Path(row["path"]).with_suffix(".csv").name).read_text().split()
        assert row["predicted"] == row["next_1"]
        assert abs(float(row["next_2"]) - float(true[-1])) < 6  # of a range of 21.5

    (tmp_path / "recording_0.csv").write_text("light\n1\n2\n3\n")
    again = framewave(*prepare)
    assert "1 row has another label, fold or split in the data" in again.stderr
