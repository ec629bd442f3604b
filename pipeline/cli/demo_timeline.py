"""`framewave demo --timeline`: long videos with known schedules, a timeline model, its scores.

A schedule is a Markov chain of scenes with sounds, each 2 to 12 s long. Some scenes differ in the
picture alone, some in the sound alone, so a model has to use both; one is the background.
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.segments import LabelledSegment
from pipeline.cli.console import err, out
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
_NEW_S = (60, 90, 120, 300)


def run_timeline_demo(folder: Path, seed: int, overrides: list[str]) -> None:
    """Make the videos, run all commands, print the scores on new videos. Raises UserError if a step
    fails."""
    settings = ["task=timeline", f"train.seed={seed}", *overrides]
    _make_videos(folder, seed)
    work, run = folder / "work", folder / "run"
    options = ["--config", str(CONFIG), *settings]
    eval_settings = [
        word for word in overrides if word.startswith(("classify.", "limits.", "device="))
    ]
    run_framewave("prep", str(folder / "labelled" / "labels.csv"), "--work", str(work), *options)
    run_framewave("train", "--work", str(work), "--run", str(run), *options)
    run_framewave("eval", "--run", str(run), *eval_settings)
    table = folder / "predictions.csv"
    videos = sorted((folder / "new").glob("*.mp4"))
    run_framewave("classify", *map(str, videos), "--run", str(run), "--out", str(table),
                  *eval_settings)  # fmt: skip
    # the new videos again, now with labels, for their scores
    run_framewave("eval", "--run", str(run), "--data", str(folder / "new" / "labels.csv"), "--out",
                  str(folder / "eval_new"), "--no-audit", *eval_settings)  # fmt: skip
    out.print(f"\nsegments of the new videos: {folder / 'segments.csv'}", markup=False)
    out.print(f"report on them: {folder / 'eval_new' / 'report.html'}", markup=False)


def _make_videos(folder: Path, seed: int) -> None:
    """Write the videos unless the same demo wrote them before. Raises UserError if the folder holds
    something else."""
    marked = f"timelines, seed {seed}\n"
    if not begin_folder(folder, marked):
        return
    rng = np.random.default_rng(seed)
    chain = transitions(rng)
    schedules = {
        name: plan_schedules(folder / name, lengths_s, chain, rng)
        for name, lengths_s in (("labelled", _LABELLED_S), ("new", _NEW_S))
    }
    n = sum(map(len, schedules.values()))
    err.print(f"writing {n} videos into {folder}", markup=False)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for name, planned in schedules.items():
            (folder / name).mkdir()
            list(pool.map(write_schedule, planned))
            write_labels(folder / name / "labels.csv", planned)
    (folder / MARK).write_text(marked)
