"""The `demo` command: make labelled videos, run every command on them, and print the accuracy.

A clip shows a sunny day and a moonlit night, in either order, with the sound of a bird, a frog or
rain. Its label is the pair, for example `day_then_night__frog`. So picture alone cannot determine
the sound, sound alone cannot determine the order, and averages over time cannot either.
"""

from __future__ import annotations

import csv
import multiprocessing
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_prep.media.pyav_media import ClipWriter
from pipeline.cli.console import ConsoleReporter, err, out, print_table
from pipeline.config import PRESETS, load_config
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.metrics.scoring import EvaluatedClip


ORDERS = ("day_then_night", "night_then_day")
SOUNDS = ("bird", "frog", "rain")
LABELS = tuple(f"{order}__{sound}" for order in ORDERS for sound in SOUNDS)

_RATE_HZ = 16_000
_SIZES_PX = ((160, 120), (192, 108), (128, 160), (176, 144))
_FRAME_RATES_HZ = (Fraction(8), Fraction(10), Fraction(12), Fraction(15))

# Both halves of a clip start with a key frame and have constant quality: otherwise coding artefacts
# would reveal which half came first, and averages over time could determine the order.
_EQUAL_QUALITY = {"qp": "26", "bf": "0", "g": "1000", "sc_threshold": "0"}

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DemoClip:
    """One clip to write. scene: seed of everything but the order and the kind of sound."""

    path: Path
    order: str
    sound: str | None
    scene: int

    @property
    def label(self) -> str:
        return f"{self.order}__{self.sound}"


def plan_labelled(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """`count` clips in one folder per label, each with a scene of its own."""
    clips = []
    for index in range(count):
        order, sound = ORDERS[index % 2], SOUNDS[index // 2 % 3]
        path = folder / f"{order}__{sound}" / f"clip_{index:04d}.mp4"
        clips.append(DemoClip(path, order, sound, seed * 1_000_000 + index))
    return clips


def plan_new(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """At least `count` clips: every scene in both orders with each of the three sounds.

    A model of one modality gets the same picture three times, or the same sound twice, so at most
    a third, or half, of its predictions can be correct: the bound is exact, not only on average.
    """
    clips = []
    scenes = -(-count // len(LABELS))
    names = np.random.default_rng(seed).permutation(
        scenes * len(LABELS)
    )  # random, so that names reveal nothing
    for index, name in enumerate(names):
        scene, kind = divmod(index, len(LABELS))
        path = folder / f"new_{name:04d}.mp4"
        number = seed * 1_000_000 + 500_000 + scene
        clips.append(DemoClip(path, ORDERS[kind // 3], SOUNDS[kind % 3], number))
    return clips


def write_clips(clips: list[DemoClip]) -> None:
    """Write all clips, in two processes."""
    for folder in {clip.path.parent for clip in clips}:
        folder.mkdir(parents=True, exist_ok=True)
    # spawn: forking a process with threads can deadlock
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(write_clip, clips, chunksize=16))


def write_odd_files(folder: Path, whole: Path, seed: int) -> list[Path]:
    """Write damaged files; each must get a row with a reason and no prediction."""
    data = whole.read_bytes()
    files = {
        "damaged_cut_short.mp4": data[: len(data) * 2 // 5],
        "damaged_empty.mp4": b"",
        "damaged_header.mp4": bytes(64) + data[64:],
        "damaged_noise.mp4": np.random.default_rng(seed).bytes(20_000),
        "damaged_text.mp4": b"this is a note that somebody renamed\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(files)]


def write_truth(path: Path, clips: list[DemoClip]) -> None:
    """Write a CSV of path (relative to the CSV) and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(clip.path.relative_to(path.parent)), clip.label] for clip in clips)


def write_clip(clip: DemoClip) -> None:
    """Render and encode one clip: H.264, and AAC unless its sound is None."""
    rng = np.random.default_rng(clip.scene)
    width, height = _SIZES_PX[rng.integers(len(_SIZES_PX))]
    rate_hz = _FRAME_RATES_HZ[rng.integers(len(_FRAME_RATES_HZ))]
    # Scenes last whole seconds and move independently of each other, so that a clip has the same
    # frames in either order: averages over time are equal by construction, not by chance.
    scene_length_s = {kind: int(rng.integers(2, 4)) for kind in ("day", "night")}
    duration_s = float(sum(scene_length_s.values()))
    order = ("day", "night") if clip.order == ORDERS[0] else ("night", "day")
    scenes = {kind: Scene(kind, width, height, rng) for kind in ("day", "night")}
    wave = None
    if clip.sound is not None:
        # its own stream: the picture must not depend on the sound
        wave = sound(clip.sound, duration_s, np.random.default_rng(clip.scene + 7))
    audio_rate_hz = None if wave is None else _RATE_HZ
    with ClipWriter(clip.path, (width, height), rate_hz, audio_rate_hz, _EQUAL_QUALITY) as writer:
        index = 0
        for kind in order:
            count = int(scene_length_s[kind] * rate_hz)
            for number in range(count):
                picture = scenes[kind].frame(number / count)
                writer.add_frame(picture, index, key_frame=number == 0)
                index += 1
        if wave is not None:
            writer.add_audio(wave)


class Scene:
    """A sky with a drifting sun or moon above the ground; colours vary from clip to clip."""

    def __init__(self, kind: str, width: int, height: int, rng: np.random.Generator) -> None:
        day = kind == "day"
        sky = np.array((120, 190, 250) if day else (10, 14, 48)) + rng.integers(-18, 18, 3)
        ground = np.array((90, 160, 60) if day else (18, 30, 22)) + rng.integers(-14, 14, 3)
        self._disc = np.array((255, 220, 60) if day else (225, 228, 235))
        self._y, self._x = np.mgrid[0:height, 0:width].astype(np.float32)
        horizon = height * rng.uniform(0.62, 0.8)
        hills = horizon + height * 0.05 * np.sin(self._x / width * rng.uniform(4, 12))
        picture = np.where((self._y > hills)[:, :, None], ground, sky).astype(np.float32)
        if not day:
            stars = (rng.random((height, width)) < 0.004) & (self._y < hills)
            picture[stars] = 230
        self._picture = picture + rng.normal(0, 3, picture.shape)
        self._radius = height * rng.uniform(0.09, 0.15)
        self._start = rng.uniform(0.15, 0.5) * width
        self._drift = rng.uniform(-0.3, 0.6) * width
        self._height = rng.uniform(0.15, 0.35) * height

    def frame(self, position: float) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, C] at a position 0…1 of the scene."""
        centre = self._start + self._drift * position
        inside = (self._x - centre) ** 2 + (self._y - self._height) ** 2 < self._radius**2
        picture = np.where(inside[:, :, None], self._disc, self._picture)
        return np.clip(picture, 0, 255).astype(np.uint8)


def sound(kind: str, duration_s: float, rng: np.random.Generator) -> Float32:
    n = int(duration_s * _RATE_HZ)
    wave = rng.normal(0, 0.004, n)  # background noise
    if kind == "rain":
        hiss = rng.normal(0, 1, n)
        wave += 0.05 * np.convolve(hiss, [0.5, 0.3, 0.2], "same")
        for drop in rng.integers(0, n - 400, int(duration_s * 30)):  # each drop a short burst
            wave[drop : drop + 400] += 0.15 * rng.normal(0, 1, 400) * np.exp(-np.arange(400) / 60)
    else:
        call_s = 0.16 if kind == "bird" else 0.3
        start_s = rng.uniform(0, 0.3)
        while start_s < duration_s - call_s:
            call = _call(kind, call_s, rng)
            begin = int(start_s * _RATE_HZ)
            wave[begin : begin + call.size] += call
            start_s += call_s + rng.uniform(0.08, 0.45)
    wave *= rng.uniform(0.5, 1.2)
    return np.clip(wave, -1, 1).astype(np.float32)


def _call(kind: str, duration_s: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One call: a bird's rising and falling whistle, or a frog's low, rough croak."""
    t = np.arange(int(duration_s * _RATE_HZ)) / _RATE_HZ
    envelope = np.sin(np.pi * t / duration_s) ** 2
    if kind == "bird":
        pitch_hz = rng.uniform(2200, 3200) + 700 * np.sin(2 * np.pi * t / duration_s)
        return np.asarray(0.35 * envelope * np.sin(2 * np.pi * np.cumsum(pitch_hz) / _RATE_HZ))
    base_hz = rng.uniform(130, 220)
    # on and off 22 to 34 times a second
    tremolo = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * rng.uniform(22, 34) * t))
    tone = sum(np.sin(2 * np.pi * base_hz * k * t) / k for k in (1, 2, 3, 5))
    return np.asarray(0.3 * envelope * tremolo * tone)


CONFIG = PRESETS / "demo.yaml"
_ALONE = ("picture", "sound")
MARK, _UNFINISHED = "made_by_framewave_demo", "unfinished\n"


def run_demo(folder: Path, count: int, seed: int, overrides: list[str]) -> None:
    """Make the videos, run all commands, print the results. Raises UserError if a step fails."""
    settings = [f"train.seed={seed}", *overrides]
    config = load_config(CONFIG, settings)
    new = _make_media(folder, count, seed)
    work, run = folder / "work", folder / "runs" / "both"
    options = ["--config", _relative(CONFIG), *settings]
    # eval and classify take clip and model settings from the run
    eval_settings = [
        word for word in overrides if word.startswith(("classify.", "limits.", "device="))
    ]
    run_framewave("scan", str(folder / "labelled"), "--work", str(work), *options)
    run_framewave("prep", str(folder / "labelled"), "--work", str(work), *options)
    run_framewave("train", "--work", str(work), "--run", str(run), *options)
    for name in _ALONE:
        options_alone = [*options, f"model.modalities={name}"]
        run_framewave(
            "train", "--work", str(work), "--run", str(folder / "runs" / name), *options_alone
        )
        # the audit is the same for all three models
        run_framewave("eval", "--run", str(folder / "runs" / name), "--no-audit", *eval_settings)
    run_framewave("eval", "--run", str(run), *eval_settings)
    table = folder / "predictions.csv"
    run_framewave(
        "classify", str(folder / "new"), "--run", str(run), "--out", str(table), *eval_settings
    )

    # the new clips again, now with labels, for the accuracies of model and baselines
    from pipeline.evaluation.evaluate import evaluate
    from pipeline.report.report import write_report

    truth = folder / "new_labels.csv"
    report = ConsoleReporter()
    err.print("\n[bold]how much do picture, sound and order contribute?[/]")
    # in this process, because the samples are needed below
    evaluation = evaluate(run, truth, folder / "eval_new", config, report)
    write_report(folder / "eval_new" / "report.html", evaluation, config, report)
    accuracy = {"picture and sound": evaluation.metrics["accuracy"]}
    for name in _ALONE:
        accuracy[f"{name} alone"] = _accuracy_of(folder / "runs" / name, evaluation.predicted_clips)
    _print_result(accuracy, evaluation.metrics["baselines"], new, seed)
    out.print(f"\ntable of all new files: {table}", markup=False)
    out.print(f"report: {run / 'eval' / 'report.html'}", markup=False)
    out.print(f"report on the new clips: {folder / 'eval_new' / 'report.html'}", markup=False)
    out.print(
        "(It warns of clips from the same recording: each new scene comes with all six labels, so "
        "pictures\nand sounds repeat.)"
    )


def picture_cap(clips: list[DemoClip]) -> float:
    """Highest possible accuracy without sound: one label per picture."""
    return _cap([(f"{clip.scene}{clip.order}", clip.label) for clip in clips])


def sound_cap(clips: list[DemoClip]) -> float:
    """Highest possible accuracy without pictures: one label per sound."""
    return _cap([(f"{clip.scene}{clip.sound}", clip.label) for clip in clips])


def _cap(known_and_label: list[tuple[str, str]]) -> float:
    labels_of: dict[str, Counter[str]] = {}
    for observed, label in known_and_label:
        labels_of.setdefault(observed, Counter())[label] += 1
    n_correct = sum(counts.most_common(1)[0][1] for counts in labels_of.values())
    return n_correct / len(known_and_label)


def begin_folder(folder: Path, marked: str) -> bool:
    """Prepare the folder of a demo's videos; False if the same demo has written them already.

    marked: what the caller writes into the file MARK once all videos are complete. Raises UserError
    if the folder contains something else.
    """
    marker = folder / MARK
    # complete only when everything is written, so half-written videos are not reused
    found = marker.read_text() if marker.exists() else ""
    if found == marked:
        err.print(f"the videos are already in {folder}", markup=False)
        return False
    if found == _UNFINISHED:  # interrupted while it wrote them
        for name in ("labelled", "new", "short", "long"):
            shutil.rmtree(folder / name, ignore_errors=True)
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} contains something other than this demo; choose another folder with --out, "
            "or delete it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(_UNFINISHED)
    return True


def _make_media(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """Write the videos unless the same demo wrote them before; returns the new clips."""
    marked = f"{count} clips, seed {seed}\n"
    new = plan_new(folder / "new", count, seed)
    if not begin_folder(folder, marked):
        return new
    labelled = plan_labelled(folder / "labelled", count, seed)
    silent = [
        # a model of both must classify files without sound too
        DemoClip(folder / "new" / f"no_sound_{i}.mp4", clip.order, None, clip.scene)
        for i, clip in enumerate(new[:3])
    ]
    err.print(f"writing {len(labelled)} labelled and {len(new)} new videos into {folder}")
    write_clips([*labelled, *new])
    for clip in silent:
        write_clip(clip)
    write_odd_files(folder / "new", new[0].path, seed)
    write_truth(folder / "new_labels.csv", new)
    (folder / MARK).write_text(marked)
    return new


def run_framewave(*arguments: str) -> None:
    """Print a command and run it as a user would. Raises UserError if it fails."""
    err.print(f"\n$ framewave {' '.join(arguments)}", markup=False, style="bold")
    # -P: a folder named like a package in the current one must not hide it
    code = subprocess.run([sys.executable, "-P", "-m", "pipeline", *arguments], check=False)
    if code.returncode:
        raise UserError(f"the demo stopped: `framewave {arguments[0]}` ended with the error above")


def _accuracy_of(run: Path, clips: list[EvaluatedClip]) -> float:
    from data_prep.dataset.clip_store import ClipOutcome
    from pipeline.inference.classifier import Classifier

    classifier = Classifier.load(run)
    n_correct = 0
    for clip in clips:
        assert clip.sample is not None
        outcome = ClipOutcome(clip.prediction.status, "")
        prediction = classifier.predict_sample(clip.row.path, outcome, clip.sample)
        assert prediction.probabilities is not None
        decision = classifier.task.decision(prediction.probabilities, classifier.labels)
        n_correct += decision == clip.row.label
    return n_correct / len(clips)


def _print_result(
    accuracy: dict[str, float], baselines: dict[str, dict[str, float]], new: list[DemoClip],
    seed: int,
) -> None:  # fmt: skip
    caps = {"picture alone": picture_cap(new), "sound alone": sound_cap(new)}
    rows = [
        # both modalities together determine the label
        [name, f"{value:.1%}", f"{caps[name]:.1%}" if name in caps else "100.0%"]
        for name, value in accuracy.items()
    ]
    for name, result in baselines.items():
        rows.append([name.replace("_", " "), f"{result['accuracy']:.1%}", ""])
    out.print()
    title = f"accuracy on {len(new)} clips never seen in training (seed {seed})"
    print_table(["model", "accuracy", "upper bound"], rows, title)
    out.print(
        "The picture shows the order of day and night, the sound is a bird, a frog or rain; either "
        "alone gives\nonly its part of the label. Logistic regression uses averages over time, "
        "which have no order."
    )


def _relative(path: Path) -> str:
    current = Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)
