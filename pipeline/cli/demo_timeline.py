"""`framewave demo --timeline`: long videos with known schedules; timelines, event lists, forecasts.

A schedule is a Markov chain of scenes with sounds, each 2 to 12 s long. Some scenes differ in the
picture alone, some in the sound alone, so a model has to use both; one is the background.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.segments import LabelledSegment
from pipeline.cli.console import err, out, print_table
from pipeline.cli.demo import CONFIG, MARK, Scene, begin_folder, run_framewave, sound

BACKGROUND = "quiet"
STATES = {
    "bird by day": ("day", "bird"),
    "bird at night": ("night", "bird"),
    "frog at night": ("night", "frog"),
    "rain by day": ("day", "rain"),
    BACKGROUND: ("day", None),
}
"""Label → scene and sound."""

_RATE_HZ, _FRAME_RATE_HZ = 16_000, Fraction(8)
_SIZE_PX = (160, 120)
_LENGTHS_S = (2, 12)


@dataclass(frozen=True)
class Schedule:
    """A video and the labels of its seconds."""

    path: Path
    segments: tuple[LabelledSegment, ...]
    seed: int

    @property
    def duration_s(self) -> float:
        return self.segments[-1].end_s


def transitions(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Probability of each state after each, [K, K]; no state follows itself."""
    chain = rng.dirichlet(np.full(len(STATES), 0.7), len(STATES))
    np.fill_diagonal(chain, 0)
    return np.asarray(chain / chain.sum(axis=1, keepdims=True))


def plan_schedules(
    folder: Path,
    lengths_s: Sequence[float],
    chain: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> list[Schedule]:
    """One video of each length, whose states follow the Markov chain [K, K]."""
    states, schedules = list(STATES), []
    for number, length_s in enumerate(lengths_s):
        state, at_s, segments = int(rng.integers(len(states))), 0.0, []
        while at_s < length_s:
            end_s = min(length_s, at_s + round(float(rng.uniform(*_LENGTHS_S)), 1))
            if length_s - end_s < _LENGTHS_S[0]:  # no shorter rest
                end_s = float(length_s)
            segments.append(LabelledSegment(at_s, end_s, states[state]))
            state, at_s = int(rng.choice(len(states), p=chain[state])), end_s
        path = folder / f"recording_{number:02d}.mp4"
        schedules.append(Schedule(path, tuple(segments), int(rng.integers(2**31))))
    return schedules


def write_schedule(schedule: Schedule) -> None:
    """Render and encode a video: H.264 and AAC."""
    from data_prep.media.pyav_media import ClipWriter

    rng = np.random.default_rng(schedule.seed)
    scenes = {kind: Scene(kind, *_SIZE_PX, rng) for kind in ("day", "night")}
    n_frames = int(schedule.duration_s * _FRAME_RATE_HZ)
    wave = np.zeros(int(schedule.duration_s * _RATE_HZ), np.float32)
    for segment in schedule.segments:
        kind = STATES[segment.label][1]
        begin, end = int(segment.start_s * _RATE_HZ), int(segment.end_s * _RATE_HZ)
        length_s = (end - begin) / _RATE_HZ  # of whole samples
        part = rng.normal(0, 0.004, end - begin) if kind is None else sound(kind, length_s, rng)
        wave[begin : begin + part.size] = part[: wave.size - begin]
    with ClipWriter(schedule.path, _SIZE_PX, _FRAME_RATE_HZ, _RATE_HZ, {"qp": "26"}) as writer:
        current = 0
        for number in range(n_frames):
            at_s = number / float(_FRAME_RATE_HZ)
            while schedule.segments[current].end_s <= at_s:
                current += 1
            scene = scenes[STATES[schedule.segments[current].label][0]]
            writer.add_frame(scene.frame(at_s % 20 / 20), number, key_frame=number % 40 == 0)
        writer.add_audio(wave)


def write_labels(path: Path, schedules: list[Schedule]) -> None:
    """A table of the labelled segments; gaps are the background."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start_s", "end_s", "label"])
        for schedule in schedules:
            for segment in schedule.segments:
                if segment.label != BACKGROUND:
                    writer.writerow([schedule.path.name, segment.start_s, segment.end_s,
                                     segment.label])  # fmt: skip


_LABELLED_S = (60, 70, 80, 90, 60, 75, 85, 65, 95, 70, 60, 80, 100, 65, 75, 90)
_NEW_S, _LONG_S = (60, 90, 120, 300), (1200,)
_N_SHORT, _SHORT_S, _MOST_EVENTS = 20, (8, 36), 6
_EVAL_SETTINGS = ("classify.", "limits.", "device=")  # eval takes the other settings from the run


def run_timeline_demo(folder: Path, seed: int, overrides: list[str]) -> None:
    """Make the videos, run all commands, print the scores on new videos. Raises UserError if a step
    fails."""
    _make_videos(folder, seed)
    labels = str(folder / "labelled" / "labels.csv")
    work, causal, run = folder / "work", folder / "work_causal", folder / "runs" / "timeline"
    options = ["--config", str(CONFIG), f"train.seed={seed}", *overrides]
    eval_settings = [word for word in overrides if word.startswith(_EVAL_SETTINGS)]
    run_framewave("prep", labels, "--work", str(work), "task=timeline", *options)
    run_framewave("train", "--work", str(work), "--run", str(run), *options)
    run_framewave("eval", "--run", str(run), *eval_settings)
    table = folder / "predictions.csv"
    new = sorted([*folder.glob("new/*.mp4"), *folder.glob("long/*.mp4")])
    run_framewave("classify", *map(str, new), "--run", str(run), "--out", str(table),
                  *eval_settings)  # fmt: skip

    # one prepared folder serves all tasks; features that know no later step need another one
    run_framewave("prep", labels, "--work", str(causal), "task=timeline", "clip.causal=true",
                  *options)  # fmt: skip
    for name, prepared, settings in (
        ("timeline_bidirectional", work, ["model.bidirectional=true"]),
        ("timeline_causal", causal, []),
        ("events", work, ["task=events"]),
        ("forecast", causal, ["task=forecast"]),
    ):
        run_framewave("train", "--work", str(prepared), "--run", str(folder / "runs" / name),
                      *options, *settings)  # fmt: skip
    for name, (_, videos) in _RESULTS.items():
        # the new videos, now with labels, for their scores
        run_framewave("eval", "--run", str(folder / "runs" / name.partition("/")[0]), "--data",
                      str(folder / videos / "labels.csv"), "--out", str(folder / "eval" / name),
                      "--no-audit", *eval_settings)  # fmt: skip
    _print_results(folder, seed)
    out.print(f"\nsegments of the new videos: {folder / 'segments.csv'}", markup=False)
    out.print(f"report on them: {folder / 'eval' / 'timeline' / 'report.html'}", markup=False)


_RESULTS = {
    "timeline": ("timeline", "new"),
    "timeline/long": ("timeline, 20 min", "long"),
    "timeline_bidirectional": ("timeline, bidirectional", "new"),
    "timeline_causal": ("timeline, causal", "new"),
    "events": (f"events, up to {_MOST_EVENTS}", "short"),
    "forecast": ("forecast, 1 s ahead", "new"),
}
"""run, and what is added to it → title, folder of the videos."""


def _print_results(folder: Path, seed: int) -> None:
    """One row for each task: its score on new videos, and that of the best baseline."""
    rows = []
    for name, (title, _) in _RESULTS.items():
        metrics = json.loads((folder / "eval" / name / "metrics.json").read_text())
        others = metrics["baselines"]
        if name == "events":
            score, best = metrics["accuracy"], max(each["accuracy"] for each in others.values())
            what = "lists, exactly"
        elif name == "forecast":
            score = metrics["by_horizon"][0]["accuracy"]
            best = others["best_baseline"]["by_horizon"][0]["accuracy"]
            what = "steps"
        else:
            score = metrics["accuracy"]
            best = max(each["accuracy"] for each in others.values())
            f1 = metrics["segment_f1"]["0.5"]["f1"]
            what = f"steps; F1@50 {f1:.2f}, edit {metrics['edit']:.2f}"
        rows.append([title, f"{score:.1%}", f"{best:.1%}", what])
    out.print()
    print_table(["task", "right", "best baseline", "of"], rows,
                f"on new videos, never seen in training (seed {seed})")  # fmt: skip
    out.print(
        "The next scene follows from the present one by chance, and how long it lasts is drawn: no "
        "forecast can be\nmuch better than its best baseline, which knows the true labels so far."
    )


def plan_short(
    folder: Path, chain: npt.NDArray[np.float64], rng: np.random.Generator
) -> list[Schedule]:
    """Videos with at most six events each."""
    found: list[Schedule] = []
    while len(found) < _N_SHORT:
        (planned,) = plan_schedules(folder, [float(rng.integers(*_SHORT_S))], chain, rng)
        n_events = sum(segment.label != BACKGROUND for segment in planned.segments)
        if 1 <= n_events <= _MOST_EVENTS:
            found.append(replace(planned, path=folder / f"short_{len(found):02d}.mp4"))
    return found


def _make_videos(folder: Path, seed: int) -> None:
    """Write the videos unless the same demo wrote them before. Raises UserError if the folder holds
    something else."""
    marked = f"timelines and lists, seed {seed}\n"
    if not begin_folder(folder, marked):
        return
    rng = np.random.default_rng(seed)
    chain = transitions(rng)
    schedules = {
        name: plan_schedules(folder / name, lengths_s, chain, rng)
        for name, lengths_s in (("labelled", _LABELLED_S), ("new", _NEW_S))
    }
    schedules["short"] = plan_short(folder / "short", chain, rng)
    schedules["long"] = plan_schedules(folder / "long", _LONG_S, chain, rng)
    n = sum(map(len, schedules.values()))
    err.print(f"writing {n} videos into {folder}", markup=False)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for name, planned in schedules.items():
            (folder / name).mkdir()
            # the longest first: two processes end at about the same time
            list(pool.map(write_schedule, sorted(planned, key=lambda each: -each.duration_s)))
            write_labels(folder / name / "labels.csv", planned)
    (folder / MARK).write_text(marked)
