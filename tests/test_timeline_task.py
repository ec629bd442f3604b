"""The task timeline: targets, decoding, scores; and the whole way through the command line."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.annotations.listing import list_data_set
from data_prep.manifest import ManifestRow, labelled_s, read_manifest
from data_prep.segments import UNKNOWN, LabelledSegment
from data_prep.settings import ClipSettings, SplitSettings, TaskSettings
from data_prep.status import DataSetError, Status
from models.settings import ModelSettings
from pipeline.checkpoints.model_card import read_description
from pipeline.cli.demo_timeline import (
    BACKGROUND,
    plan_schedules,
    transitions,
    write_labels,
    write_schedule,
)
from pipeline.errors import UserError
from pipeline.evaluation.evaluation_files import read_out_of_fold
from pipeline.inference.classifier import Classifier
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction, write_predicted_segments
from pipeline.tasks import get_task
from pipeline.tasks.timeline import Timeline
from pipeline.text_format import percent
from tests.conftest import Journey, framewave
from tests.helpers.browser import browser, cues_at

LABELS = ("background", "cat", "dog")
CAT, DOG = LabelledSegment(1, 3, "cat"), LabelledSegment(4, 6, "dog")


def task(**settings: str) -> Timeline:
    found = get_task(TaskSettings(name="timeline", **settings), 1.0)
    assert isinstance(found, Timeline)
    return found


def row(*segments: LabelledSegment, duration_s: float = 8.0, **values) -> ManifestRow:
    label = ";".join(each.label for each in segments) or "background"
    return ManifestRow("/a.mp4", label=label, segments=segments, duration_s=duration_s, **values)


def certain(*classes: int) -> np.ndarray:
    return np.eye(3)[list(classes)] * 0.94 + 0.02


def test_gaps_are_background_or_unknown() -> None:
    truth = task().truth(row(CAT, DOG), 8, LABELS)
    assert truth.tolist() == [0, 1, 1, 0, 2, 2, 0, 0]
    truth = task(unlabelled="ignore").truth(row(CAT, DOG), 8, LABELS)
    assert truth.tolist() == [UNKNOWN, 1, 1, UNKNOWN, 2, 2, UNKNOWN, UNKNOWN]
    assert task(background="cat").truth(row(DOG), 5, LABELS).tolist() == [1, 1, 1, 1, 2]
    assert task().truth(row(), 3, LABELS).tolist() == [0, 0, 0]  # nothing happens in it


def test_the_classes_are_the_labels_and_the_background_if_there_are_gaps() -> None:
    whole = LabelledSegment(0, 8, "cat")
    assert task().labels([row(CAT, DOG)]) == LABELS
    assert task().labels([row(whole), row(LabelledSegment(0, math.inf, "dog"))]) == ("cat", "dog")
    assert task(unlabelled="ignore").labels([row(CAT, DOG)]) == ("cat", "dog")


def test_seconds_of_a_label_are_those_of_its_segments() -> None:
    one = row(CAT, DOG, LabelledSegment(7, 20, "cat"), duration_s=8.0)
    seconds = {label: labelled_s(one, label, task().row_labels) for label in LABELS}
    assert seconds == {"background": 3.0, "cat": 3.0, "dog": 2.0}


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataSetError, match=r"have one class \(cat\); at least two are needed"):
        task().check_rows([row(LabelledSegment(0, 8, "cat"))], 100, None)
    late = replace(row(CAT, DOG), status=Status.UNREADABLE, error="its label begins at 61 s")
    with pytest.raises(DataSetError, match=r"no class.*1 labelled file cannot be used.*at 61 s$"):
        task().check_rows([late], 100, None)
    with pytest.raises(DataSetError, match="no clip is left for 'train'"):
        task().check_rows([row(CAT, DOG, split="test")], 100, SplitSettings())


def test_segments_have_times_and_the_probability_of_their_class() -> None:
    found = task().predicted_segments(certain(0, 1, 1, 0, 2), LABELS)
    assert [(s.start_s, s.end_s, s.label) for s, _ in found] == [(1, 3, "cat"), (4, 5, "dog")]
    assert [round(p, 6) for _, p in found] == [0.96, 0.96]


def test_cells_of_a_file() -> None:
    cells = task().cells(certain(0, 1, 1, 1, 2), LABELS, 0.0)
    assert cells == ["cat", "0.960000", "2"]
    assert task().cells(None, LABELS, 0.0) == ["", "", ""]


def test_scores_leave_unknown_steps_out_whatever_is_predicted_there() -> None:
    def scores(*predicted: int) -> dict:
        clip = EvaluatedClip(
            row(CAT, DOG), Prediction("/a.mp4", Status.OK, probabilities=certain(*predicted)), None
        )
        return task(unlabelled="ignore").scores([clip], LABELS)

    perfect = scores(0, 1, 1, 0, 2, 2, 0, 0)
    assert perfect["accuracy"] == perfect["edit"] == perfect["segment_f1"]["0.5"]["f1"] == 1
    assert (perfect["n_steps"], perfect["n_unknown_steps"]) == (4, 4)
    assert scores(2, 1, 1, 1, 2, 2, 1, 1) == perfect


def test_the_agreement_of_people_is_scored_beside_the_model() -> None:
    """Ben finds the cat a step late and calls the dog a fox; the model finds the cat alone."""
    late = (
        LabelledSegment(2, 4, "cat", annotator="ben"),
        LabelledSegment(4, 6, "fox", annotator="ben"),
    )
    clips = [
        EvaluatedClip(each, Prediction("/a.mp4", Status.OK, probabilities=rows), None)
        for each, rows in (
            (row(CAT, DOG, other_segments=late), certain(0, 1, 1, 0, 0, 0, 0, 0)),
            (row(CAT, DOG), certain(0, 0, 0, 0, 0, 0, 0, 0)),  # of one annotator
        )
    ]
    agreement = task().scores(clips, LABELS)["agreement"]
    assert agreement["n"] == agreement["people"]["n"] == agreement["model"]["n"] == 1
    assert agreement["people"]["accuracy"] == 4 / 8  # wrong: steps 1, 3, 4, 5
    assert agreement["people"]["edit"] == 1 / 2
    assert agreement["model"]["accuracy"] == 6 / 8
    assert agreement["model"]["segment_f1"]["0.5"]["f1"] == pytest.approx(2 / 3)
    assert task().scores(clips[1:], LABELS)["agreement"] is None
    # only steps that both have labelled: 2 and 4, 5
    both = task(unlabelled="ignore").scores(clips, LABELS)["agreement"]
    assert both["people"]["accuracy"] == 1 / 3
    assert both["model"]["accuracy"] == 1 / 3


def test_refinement_stages_are_of_timelines_that_may_see_the_future() -> None:
    refined = ModelSettings(refinement_stages=1)
    task().check_settings(ClipSettings(), refined)
    with pytest.raises(UserError, match=r"clip\.causal=true excludes"):
        task().check_settings(ClipSettings(causal=True), refined)
    for name in ("clip_label", "forecast", "events"):
        other = get_task(TaskSettings(name=name), 1.0)
        with pytest.raises(UserError, match=f"is for task=timeline, not for task={name}"):
            other.check_settings(ClipSettings(causal=True), refined)


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    clip = EvaluatedClip(
        row(CAT, DOG), Prediction("/a.mp4", Status.OK, probabilities=certain(*[0, 1, 1] + [0] * 5)),
        None,
    )  # fmt: skip
    found = task().scores([clip], LABELS)
    assert found["per_class"]["dog"]["f1"] == 0
    assert found["macro_f1"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert found["event_f1"]["macro"] == 0.5  # sed_eval would leave dog out and give 1


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_decoding_without_transitions_is_the_most_probable_class(classes: list[int]) -> None:
    assert task().decode(certain(*classes)).tolist() == classes
    assert task().decision_score(row(CAT, DOG), "\n".join(LABELS[k] for k in classes)) == (
        pytest.approx(np.mean(task().truth(row(CAT, DOG), len(classes), LABELS) == classes))
    )


def test_transitions_are_counted_over_the_steps_that_prep_makes() -> None:
    """16.016 s have 16 steps of one second: the last event does not end in background."""
    rows = [row(LabelledSegment(0, 16.016, "cat"), duration_s=16.016, status=Status.OK)] * 9
    found = np.array(task().fit_state(rows, LABELS)["transitions"])
    assert found[1].argmax() == 1
    assert found[1, 0] == pytest.approx(1 / (9 * 15 + 3))  # added to each count


def test_segments_end_with_their_file(tmp_path) -> None:
    rows = [
        Prediction("/b.mp4", Status.OK, probabilities=certain(0, 1, 1), duration_s=2.4),
        Prediction("/a.mp4", Status.UNREADABLE, "broken"),
    ]
    assert write_predicted_segments(tmp_path / "s.csv", rows, task(), LABELS)
    assert (tmp_path / "s.csv").read_text().splitlines() == [
        "path,start_s,end_s,predicted,probability", "/b.mp4,1.000,2.400,cat,0.960000",
    ]  # fmt: skip
    other = get_task(TaskSettings())
    rows[0] = Prediction("/b.mp4", Status.OK, probabilities=np.array([0.2, 0.8]))
    assert not write_predicted_segments(tmp_path / "t.csv", rows, other, ("a", "b"))
    assert not (tmp_path / "t.csv").exists()


STEP_BASELINES = {"majority", "logistic_step", "logistic_window", "logistic_clips"}
SMALL = ["model.frame_encoder=efficientnet_lite0", "train.mirror=never"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("timelines")
    rng = np.random.default_rng(5)
    schedules = plan_schedules(folder, [40.0] * 12, transitions(rng), rng)
    for schedule in schedules:
        write_schedule(schedule)
    write_labels(folder / "labels.csv", schedules)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    return folder


@pytest.mark.end_to_end
def test_scan_counts_and_measures_the_segments(videos: Path, tmp_path: Path) -> None:
    printed = framewave("scan", videos / "labels.csv", "--work", tmp_path, "task=timeline").stdout
    with (videos / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    lengths_s = [float(line["end_s"]) - float(line["start_s"]) for line in lines]
    labels = {line["label"] for line in lines}
    rest = 1 - sum(lengths_s) / (12 * 40)
    assert (
        f"{len(lines)} segments of {len(labels)} labels in 12 files; {percent(rest)} of the time "
        "is 'background'"
    ) in " ".join(printed.split())
    assert f"{max(lengths_s):.1f}" in printed


@pytest.mark.end_to_end
def test_from_labelled_segments_to_a_table_of_segments(videos: Path, tmp_path: Path) -> None:
    work, run = tmp_path / "work", tmp_path / "run"
    printed = framewave("prep", videos / "labels.csv", "--work", work, "task=timeline", *SMALL)
    assert BACKGROUND not in (work / "segments.csv").read_text()
    assert "background" in printed.stdout
    framewave("train", "--work", work, "--run", run, *SMALL)
    framewave("eval", "--run", run, "--no-audit")
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    best = max(each["accuracy"] for each in metrics["baselines"].values())
    assert metrics["accuracy"] > 0.8
    assert metrics["accuracy"] > metrics["baselines"]["majority"]["accuracy"]
    assert set(metrics["baselines"]) == STEP_BASELINES
    assert best < 1
    page = (run / "eval" / "report.html").read_text("utf-8")
    assert "Truth above, prediction below" in page
    assert (run / "eval" / "segments.csv").is_file()

    out = tmp_path / "out" / "predictions.csv"
    out.parent.mkdir()
    framewave("classify", videos, "--run", run, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 14  # twelve videos, the table and the broken file
    by_status = {row["status"] for row in rows if not row["predicted"]}
    assert by_status == {"not_media", "unreadable"}
    segments = list(csv.DictReader((out.parent / "segments.csv").open()))
    for one in rows:
        mine = [s for s in segments if s["path"] == one["path"]]
        assert len(mine) == int(one["n_segments"] or 0)
        times = [(float(s["start_s"]), float(s["end_s"])) for s in mine]
        assert all(a < b for a, b in times)
        assert all(b <= c for (_, b), (c, _) in pairwise(times))
    before = out.read_bytes(), (out.parent / "segments.csv").read_bytes()
    framewave("classify", videos, "--run", run, "--out", out)
    assert (out.read_bytes(), (out.parent / "segments.csv").read_bytes()) == before

    refused = framewave(
        "classify", videos, "--run", run, "--out", out, "classify.window_s=5", check=False
    )
    assert refused.returncode == 2
    assert "is for models that label whole clips" in " ".join(refused.stderr.split())


@pytest.fixture(scope="module")
def prepared(videos: Path, tmp_path_factory) -> Path:
    """Two of the files have been labelled by a second person too, who is a second late and calls
    the last segment something else."""
    folder = tmp_path_factory.mktemp("timeline_folds")
    with (videos / "labels.csv").open(newline="") as file:
        lines = [{**line, "annotator": "anna"} for line in csv.DictReader(file)]
    again = [
        {**line, "start_s": float(line["start_s"]) + 1, "annotator": "ben"}
        for line in lines
        if line["path"] in ("recording_00.mp4", "recording_01.mp4")
    ]
    again[-1]["label"] = "owl"
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(again + lines)
    work = folder / "work"
    shown = framewave("prep", folder / "labels.csv", "--work", work, "task=timeline", *SMALL,
                      f"labels.folder={videos}").stderr  # fmt: skip
    assert "2 files were labelled by several people; the segments of anna" in " ".join(
        shown.split()
    )
    return work


@pytest.mark.end_to_end
def test_crossval_scores_each_file_with_networks_and_transitions_of_the_others(
    prepared: Path, tmp_path: Path
) -> None:
    run = tmp_path / "folds"
    few = ["crossval.folds=3", "crossval.seeds=1", "train.max_epochs=8", *SMALL]
    framewave("crossval", "--work", prepared, "--run", run, *few)
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert metrics["evaluated_on"] == "out of fold"
    assert metrics["n"] == 12
    assert metrics["accuracy"] > metrics["baselines"]["majority"]["accuracy"]
    assert set(metrics["baselines"]) == STEP_BASELINES
    assert metrics["agreement"]["n"] == 2
    assert 0.8 < metrics["agreement"]["people"]["edit"] < 1  # one other label
    assert 0.7 < metrics["agreement"]["people"]["accuracy"] < 1  # a second late
    page = (run / "eval" / "report.html").read_text("utf-8")
    assert "On 2 files that several people labelled, another person agrees" in page
    assert "<title>ben: " in page
    assert re.search("Classes that only other people use: <svg.*</svg> owl</p>", page)
    masked = metrics["modality_ablation"]["masked"]
    assert masked["both"]["accuracy"] > max(masked[m]["accuracy"] for m in ("picture", "sound"))
    assert (run / "eval" / "segments.csv").is_file()

    # each file is decoded with the transitions of the files outside its fold
    card = read_description(run).card
    kept = read_out_of_fold(run, card.get_task(), card.labels)
    assert kept is not None
    whole = card.get_task()
    for clip in kept.clips:
        if clip.prediction.probabilities is None:
            continue
        others = [each.row for each in kept.clips if each.row.fold != clip.row.fold]
        rows = {row.path: row for row in read_manifest(prepared / "manifest.csv")}
        of_fold = whole.with_state(
            whole.fit_state([rows[each.path] for each in others if each.fold], card.labels)
        )
        assert of_fold.state != whole.state
        found = of_fold.decode(clip.prediction.probabilities)
        assert found.tolist() == clip.prediction.classes.tolist()
        assert clip.row.segments == rows[clip.row.path].segments

    # without the work folder the true segments are those that crossval stored
    moved = prepared.rename(prepared.with_name("moved"))
    framewave("eval", "--run", run, "--out", tmp_path / "again", "--no-audit")
    moved.rename(prepared)
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["accuracy"] == metrics["accuracy"]
    assert again["agreement"] == metrics["agreement"]
    assert again["segment_f1"] == metrics["segment_f1"]

    (run / "out_of_fold.safetensors").write_bytes(b"cut")
    damaged = framewave("eval", "--run", run, check=False)
    assert damaged.returncode == 2
    assert "is damaged" in damaged.stderr


@pytest.mark.end_to_end
def test_crossval_leaves_steps_of_unknown_label_out(videos: Path, tmp_path: Path) -> None:
    work, run = tmp_path / "work", tmp_path / "folds"
    framewave("prep", videos / "labels.csv", "--work", work, "task=timeline",
              "task.unlabelled=ignore", *SMALL)  # fmt: skip
    framewave("crossval", "--work", work, "--run", run, "crossval.folds=2", "crossval.seeds=1",
              "train.max_epochs=2", "model.refinement_stages=1", *SMALL)  # fmt: skip
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert metrics["n_unknown_steps"] > 0
    assert "background" not in metrics["per_class"]
    kept = json.loads((run / "crossval.json").read_text())
    assert 0 < kept["accuracy_mean"] <= 1


OPTIONS = "classify.webvtt=true", "classify.step_probabilities=true"


@pytest.fixture(scope="module")
def run(prepared: Path) -> Path:
    run = prepared.with_name("run")
    framewave("train", "--work", prepared, "--run", run, *SMALL)
    return run


@dataclass(frozen=True)
class Classified:
    """A folder of videos and, in it, what classify wrote."""

    folder: Path

    table = property(lambda self: self.folder / "predictions.csv")
    steps = property(lambda self: self.folder / "step_probabilities.parquet")
    webvtt = property(lambda self: self.folder / "webvtt")

    def segments(self) -> dict[str, list[tuple[float, float, str]]]:
        found: dict[str, list] = {row["path"]: [] for row in csv.DictReader(self.table.open())}
        for row in csv.DictReader((self.folder / "segments.csv").open()):
            times = float(row["start_s"]), float(row["end_s"])
            found[row["path"]].append((*times, row["predicted"]))
        return found

    def content(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def classified(videos: Path, run: Path, tmp_path_factory) -> Classified:
    """Two folders that hold a video of one name, a third video, and files that are none."""
    found = Classified(tmp_path_factory.mktemp("classified"))
    for number, name in enumerate(("a/one.mp4", "b/one.mp4", "b/two.mp4")):
        (found.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(videos / f"recording_{number:02d}.mp4", found.folder / name)
    shutil.copy(videos / "broken.mp4", found.folder / "b" / "broken.mp4")
    (found.folder / "a" / "one.txt").write_text("a note")
    framewave("classify", found.folder, "--run", run, "--out", found.table, *OPTIONS)
    return found


@pytest.mark.end_to_end
def test_webvtt_files_hold_the_predicted_segments(classified: Classified, tmp_path: Path) -> None:
    written = classified.webvtt.rglob("*.*")
    assert sorted(str(file.relative_to(classified.webvtt)) for file in written) == [
        "a/one.vtt", "b/one.vtt", "b/two.vtt",
    ]  # fmt: skip
    segments = classified.segments()
    assert sum(map(len, segments.values())) > 3
    for folder in ("a", "b"):  # read as labels of the videos
        here = shutil.copytree(classified.folder / folder, tmp_path / folder)
        shutil.copytree(classified.webvtt / folder, here, dirs_exist_ok=True)
        (here / "one.txt").unlink(missing_ok=True)
        for read in list_data_set(here, None, TaskSettings(name="timeline")).rows:
            wanted = segments[str(classified.folder / Path(read.path).relative_to(tmp_path))]
            assert [(s.start_s, s.end_s, s.label) for s in read.segments] == wanted


@pytest.mark.end_to_end
def test_the_table_of_steps_holds_the_models_probabilities(
    classified: Classified, run: Path
) -> None:
    table = pq.read_table(classified.steps)
    classifier = Classifier.load(run)
    names = [f"p_{label}" for label in classifier.labels]
    assert table.column_names == ["path", "start_s", "end_s", *names]
    for row in classifier.classify([classified.folder / "a", classified.folder / "b"]):
        mine = table.filter(pa.compute.equal(table["path"], row.path))
        if row.probabilities is None:
            assert mine.num_rows == 0
            continue
        found = np.stack([mine[name].to_numpy() for name in names], axis=1)
        np.testing.assert_allclose(found, row.probabilities, atol=1e-6)
        starts_s, ends_s = mine["start_s"].to_numpy(), mine["end_s"].to_numpy()
        np.testing.assert_allclose(starts_s, np.arange(len(found)))
        np.testing.assert_array_equal(starts_s[1:], ends_s[:-1])
        assert ends_s[-1] <= row.duration_s + 1e-6
    assert table["path"].to_pylist() == sorted(table["path"].to_pylist())


@pytest.mark.end_to_end
def test_own_files_in_the_classified_folder_are_not_classified(
    classified: Classified, run: Path
) -> None:
    before = classified.content()
    again = framewave("classify", classified.folder, "--run", run, "--out", classified.table,
                      *OPTIONS)  # fmt: skip
    assert "5 rows taken from an earlier run" in again.stdout
    assert classified.content() == before
    framewave("classify", classified.folder, "--run", run, "--out", classified.table)
    assert classified.content() == before


@pytest.mark.end_to_end
def test_outputs_of_parts_have_the_times_of_their_file(
    classified: Classified, run: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "parts.csv"
    listed.write_text(
        f"path,start_s,end_s\n{classified.folder}/a/one.mp4,3.5,9.25\n"
        f"{classified.folder}/a/one.mp4,12,30\n"
    )
    out = Classified(tmp_path / "out")
    framewave("classify", listed, "--run", run, "--out", out.table, *OPTIONS)
    table = pq.read_table(out.steps)
    edges = list(zip(table["start_s"].to_pylist(), table["end_s"].to_pylist(), strict=True))
    assert edges == [(3.5 + k, min(4.5 + k, 9.25)) for k in range(6)] + [
        (12.0 + k, 13.0 + k) for k in range(18)
    ]
    (segments,) = out.segments().values()
    cues = [line for line in (out.webvtt / "one.vtt").read_text().split("\n") if "-->" in line]
    assert cues == [f"00:00:{start:06.3f} --> 00:00:{end:06.3f}" for start, end, _ in segments]


@pytest.mark.end_to_end
def test_a_browser_shows_the_predicted_labels_at_their_times(classified: Classified) -> None:
    seen: set[str] = set()
    with browser() as running:
        for path, segments in classified.segments().items():
            place = Path(path).relative_to(classified.folder).with_suffix(".vtt")
            if not segments:
                continue
            edges_s = {0.0, 29.9, *(time for s in segments for time in s[:2])}
            times_s = [t for a, b in pairwise(sorted(edges_s)) for t in (a + 0.02, b - 0.02)]
            shown = cues_at(running, Path(path), classified.webvtt / place, times_s)
            for time_s, texts in zip(times_s, shown, strict=True):
                assert texts == [label for a, b, label in segments if a <= time_s < b]
            seen.update(", ".join(texts) for texts in shown)
    assert "" in seen
    assert len(seen) > 2


FOREIGN_WEBVTT = "WEBVTT\n\n00:01.000 --> 00:02.000\nby hand\n"


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("webvtt/b/two.vtt", FOREIGN_WEBVTT, "b/two.vtt exists and was not written by framewave"),
        ("webvtt/b/two.mp4.vtt", FOREIGN_WEBVTT, "b/two.mp4.vtt exists and was not written"),
        ("webvtt/b", "a file", "webvtt/b exists and is not a folder"),
        ("webvtt", "a file", "webvtt exists and is not a folder"),
        ("step_probabilities.parquet", "a file", "parquet exists and was not written by framewave"),
        ("segments.csv", "path,start_s,end_s,label\n", "segments.csv exists and was not written"),
    ],
)
def test_files_of_others_are_refused_before_any_work(
    classified: Classified, run: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    refused = framewave("classify", classified.folder, "--run", run, "--out", tmp_path / "p.csv",
                        *OPTIONS, check=False)  # fmt: skip
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [name]
    assert (tmp_path / name).read_text() == content


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", ["segments.csv", "step_probabilities.parquet", "webvtt"])
def test_the_table_cannot_have_the_name_of_another_output(
    classified: Classified, run: Path, tmp_path: Path, name: str
) -> None:
    refused = framewave("classify", classified.folder, "--run", run, "--out", tmp_path / name,
                        *OPTIONS, check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "besides the table; choose another --out" in " ".join(refused.stderr.split())


@pytest.mark.end_to_end
def test_a_name_too_long_for_a_webvtt_file_is_refused(run: Path, tmp_path: Path) -> None:
    long = tmp_path / "videos" / f"{'ä' * 118}.mp4"
    long.parent.mkdir()
    long.touch()
    refused = framewave("classify", long.parent, "--run", run, "--out", tmp_path / "p.csv",
                        *OPTIONS, check=False)  # fmt: skip
    assert refused.returncode == 2
    assert "is too long for the name of a WebVTT file" in " ".join(refused.stderr.split())


@pytest.mark.end_to_end
def test_a_model_of_whole_clips_has_no_steps_to_write(journey: Journey, tmp_path: Path) -> None:
    for options, names in ((OPTIONS, "classify.webvtt and classify.step_probabilities are for"),
                           (OPTIONS[1:], "classify.step_probabilities is for")):  # fmt: skip
        refused = framewave("classify", journey.new, "--run", journey.run, "--out",
                            tmp_path / "p.csv", *options, check=False)  # fmt: skip
        assert refused.returncode == 2
        assert f"{names} models with a label for each time step" in " ".join(refused.stderr.split())
    assert not list(tmp_path.iterdir())
