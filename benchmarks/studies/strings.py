"""Long videos of real clips and sounds in a known order, and task=timeline measured on them.

    PYTHONPATH=. python benchmarks/studies/strings.py OUT --media MEDIA [--per-fold 6] [--seed 0]
    PYTHONPATH=. python benchmarks/studies/strings.py OUT --compare [--recipe "NAME key=value …"]…

The first command writes OUT/strings: videos of 60 to 120 s and labels.csv. MEDIA holds flying/
(infrared videos without sound) and sounds/, each with labels.csv (path, label, fold). A string is a
Markov chain of segments of 2 to 10 s, and shows and sounds only what is in its own fold. A label is
a picture class and a sound class, and each of either is in two labels, so neither tells the label
alone. The background is any picture and no sound but the noise that is everywhere. Everything is
drawn from the seed.

The second prepares the strings once (OUT/work) and cross-validates each recipe (OUT/NAME) on their
folds, then writes STRINGS.md. Every string is predicted by networks that saw nothing of its fold.
Both commands skip what is there.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import subprocess
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import av
import numpy as np
from paired import RATE_HZ, read_labels, read_sound

from benchmarks.runs import Results, commit, framewave, machine
from data_prep.files import write_text_atomically
from data_prep.media.pyav_media import ClipWriter

PAGE = Path(__file__).resolve().parent / "STRINGS.md"
BACKGROUND = "background"
STATES = {
    f"{picture}, {sound}": (picture, sound)
    for picture, sounds in {
        "airplane": ("dog_bark", "rooster"),
        "bird": ("rooster", "rain"),
        "drone": ("rain", "sea_waves"),
        "helicopter": ("sea_waves", "dog_bark"),
    }.items()
    for sound in sounds
} | {BACKGROUND: (None, None)}
"""Label → picture class and sound class; None: any picture, no sound.

Barks and crows have pauses in which only what came before tells the label; rain and sea are alike.
"""
_BACKGROUND_SHARE = 0.2  # of the segments

FRAME_RATE_HZ = 8
_SIZE_PX = (320, 256)
_LENGTHS_S = (2, 10)
_SHORTEST_S = (60, 110)  # a string ends with the segment that reaches this length
_PEAK, _PEAK_DB, _NOISE = 0.4, 6.0, 0.002  # loudest sample, spread of it, deviation of the noise
_X264 = {"qp": "24"}  # with crf, x264's mbtree makes files differ from run to run

PREP = ["task=timeline", "clip.frame_rate_hz=2"]  # a quarter of the shortest segment
CPU = ["device=cpu"]
# ensemble: networks trained on all strings are not needed
CROSSVAL = ["crossval.seeds=1", "train.seed=0", "crossval.final=ensemble"]
RECIPES = {
    "gru": [],
    "gru, bidirectional": ["model.bidirectional=true"],
    "gru, 2 layers": ["model.head_layers=2"],
    "lstm": ["model.head=lstm"],
    "lstm, bidirectional": ["model.head=lstm", "model.bidirectional=true"],
    "dilated, 4 layers": ["model.head=dilated", "model.head_layers=4"],
    "dilated, 6 layers": ["model.head=dilated", "model.head_layers=6"],
    "single steps": ["model.head=mean"],
    "gru, 1 refinement stage": ["model.refinement_stages=1"],
    "gru, 2 refinement stages": ["model.refinement_stages=2"],
    "gru, no smoothing": ["train.step_smoothing=0"],
    "gru, picture": ["model.modalities=picture"],
    "gru, sound": ["model.modalities=sound"],
}


@dataclass(frozen=True)
class Part:
    """A segment: a stretch of one video, and recordings that follow each other."""

    label: str
    n_frames: int
    video: Path
    from_share: float
    """Where in the video the stretch begins: 0 at its start, 1 as late as it fits."""
    sounds: tuple[Path, ...]
    peak: float


@dataclass(frozen=True)
class String:
    """A video to be written, from what is in one fold."""

    path: Path
    fold: str
    parts: tuple[Part, ...]
    seed: tuple[int, ...]


def transitions(rng: np.random.Generator) -> np.ndarray:
    """Probability of each state after each, [K, K]; no state follows itself, all labels are equally
    frequent."""
    n_labels = len(STATES) - 1
    shares = np.array([(1 - _BACKGROUND_SHARE) / n_labels] * n_labels + [_BACKGROUND_SHARE])
    flows = rng.dirichlet(np.ones(shares.size), shares.size)
    np.fill_diagonal(flows, 0)
    for _ in range(1000):  # Sinkhorn: both margins become the shares
        flows *= (shares / flows.sum(axis=1))[:, None]
        flows *= shares / flows.sum(axis=0)
    return np.asarray(flows / flows.sum(axis=1, keepdims=True))


def plan(media: Path, folder: Path, per_fold: int, seed: int) -> list[String]:
    """The strings of all folds; those of a fold do not depend on how many there are."""
    chain = transitions(np.random.default_rng(seed))
    pools = {name: pool(media / name) for name in ("flying", "sounds")}
    return [
        plan_string(folder / f"fold{fold}_{number}.mp4", fold, (seed, int(fold), number), chain,
                    pools["flying"][fold], pools["sounds"][fold])
        for fold in sorted(pools["flying"])
        for number in range(per_fold)
    ]  # fmt: skip


def pool(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """{fold: {label: files}}"""
    found: dict[str, dict[str, list[Path]]] = {}
    for row in read_labels(folder):
        found.setdefault(row["fold"], {}).setdefault(row["label"], []).append(folder / row["path"])
    return found


def plan_string(
    path: Path,
    fold: str,
    seed: tuple[int, ...],
    chain: np.ndarray,
    videos: dict[str, list[Path]],
    sounds: dict[str, list[Path]],
) -> String:
    """One walk through the chain [K, K]; all that is random in it comes from `seed`."""
    rng = np.random.default_rng(seed)
    shortest, at, parts = rng.uniform(*_SHORTEST_S) * FRAME_RATE_HZ, 0, list[Part]()
    every_video = [video for of_class in videos.values() for video in of_class]
    state = len(STATES) - 1  # the background comes before the first segment, and is not shown
    while at < shortest:
        state = int(rng.choice(len(STATES), p=chain[state]))
        label, (picture, sound) = list(STATES.items())[state]
        choice = videos[picture] if picture else every_video
        recordings = sounds[sound] if sound else []
        n_frames = round(float(rng.uniform(*_LENGTHS_S)) * FRAME_RATE_HZ)
        parts.append(
            Part(
                label, n_frames, choice[int(rng.integers(len(choice)))], float(rng.uniform()),
                tuple(recordings[int(k)] for k in rng.permutation(len(recordings))),
                _PEAK * 10 ** (float(rng.uniform(-_PEAK_DB, _PEAK_DB)) / 20),
            )
        )  # fmt: skip
        at += n_frames
    return String(path, fold, tuple(parts), seed)


def table(strings: list[String]) -> str:
    """labels.csv: path, start_s, end_s, label, group, fold; gaps are the background.

    A fold's strings share its sessions, so the fold is the group.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start_s", "end_s", "label", "group", "fold"])
    for string in strings:
        at = 0
        for part in string.parts:
            start_s, at = at / FRAME_RATE_HZ, at + part.n_frames
            if part.label != BACKGROUND:
                writer.writerow([string.path.name, start_s, at / FRAME_RATE_HZ, part.label,
                                 f"fold {string.fold}", string.fold])  # fmt: skip
    return text.getvalue()


def write_string(string: String) -> float:
    """Encode a string: H.264 and AAC; its length in s."""
    n_frames = sum(part.n_frames for part in string.parts)
    temporary = string.path.with_name(f"unfinished_{string.path.name}")
    with ClipWriter(temporary, _SIZE_PX, FRAME_RATE_HZ, RATE_HZ, _X264) as writer:
        pictures = (picture for part in string.parts for picture in stretch(part))
        for number, picture in enumerate(pictures):
            writer.add_frame(picture, number)
        sound = np.concatenate([sound_of(part) for part in string.parts])
        rng = np.random.default_rng((*string.seed, 1))
        noise = rng.normal(0, _NOISE, sound.size)
        writer.add_audio(np.clip(sound + noise, -1, 1).astype(np.float32))
    temporary.replace(string.path)
    return n_frames / FRAME_RATE_HZ


def stretch(part: Part) -> list[np.ndarray]:
    """uint8 [H, W, C] of each frame; the last one is held if the video is too short."""
    with av.open(str(part.video)) as container:
        rate_hz = float(container.streams.video[0].average_rate)
        frames = list(container.decode(video=0))
    step = rate_hz / FRAME_RATE_HZ
    first = part.from_share * max(0.0, len(frames) - part.n_frames * step)
    places = [min(len(frames) - 1, int(first + k * step)) for k in range(part.n_frames)]
    return [frames[k].to_ndarray(format="rgb24", width=_SIZE_PX[0], height=_SIZE_PX[1])
            for k in places]  # fmt: skip


def sound_of(part: Part) -> np.ndarray:
    """float32 [S]: one recording after the other, from the first again when all are used up."""
    n_samples = part.n_frames * RATE_HZ // FRAME_RATE_HZ
    found, n_found = [np.zeros(0 if part.sounds else n_samples, np.float32)], 0
    for path in part.sounds:
        if n_found < n_samples:
            found.append(read_sound(path) * part.peak)
            n_found += found[-1].size
    return np.resize(np.concatenate(found), n_samples)


def build(media: Path, out: Path, per_fold: int, seed: int) -> None:
    folder = out / "strings"
    strings = plan(media, folder, per_fold, seed)
    labels, asked = folder / "labels.csv", f"--per-fold {per_fold} --seed {seed}"
    if labels.exists() and labels.read_text(encoding="utf-8") != table(strings):
        raise SystemExit(f"{folder} holds other strings; name another OUT")
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(labels, table(strings))
    missing = [string for string in strings if not string.path.exists()]

    def write() -> dict[str, Any]:
        begun_s = time.perf_counter()
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
            lengths_s = list(processes.map(write_string, missing))
        wall_s = round(time.perf_counter() - begun_s, 2)
        return {"videos": len(missing), "video_s": sum(lengths_s), "wall_s": wall_s, "asked": asked}

    if missing:
        times = Results(out / "times.json")
        times.values.pop("build", None)
        times.once("build", write)
    print(f"{len(strings)} strings in {folder}")


def compare(out: Path, recipes: dict[str, list[str]], page: Path) -> None:
    times, work = Results(out / "times.json"), out / "work"
    labels = out / "strings" / "labels.csv"
    try:
        times.once("prep", lambda: framewave("prep", labels, "--work", work, *CPU, *PREP))
        for name, settings in recipes.items():
            run = ["--work", work, "--run", run_folder(out, name), *CPU, *CROSSVAL, *settings]
            times.once(crossval_key(name, settings), lambda run=run: framewave("crossval", *run))
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr.decode(errors="replace").strip()) from None
    found = {name: scores(run_folder(out, name)) for name in recipes}
    write_text_atomically(page, page_text(found, recipes, times.values, summary(labels)))
    print(f"written: {page}")


def crossval_key(name: str, settings: list[str]) -> str:
    """Of times.json: a run that was made with other settings is not taken for this one."""
    return f"crossval {' '.join([name, *settings])}"


def run_folder(out: Path, name: str) -> Path:
    return out / name.replace(", ", "-").replace(" ", "_")


def scores(run: Path) -> dict[str, Any]:
    """What eval or crossval wrote."""
    found: dict[str, Any] = json.loads((run / "eval" / "metrics.json").read_text(encoding="utf-8"))
    return found


def summary(labels: Path) -> str:
    """What the strings are, in a line."""
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = Counter(row["label"] for row in rows)
    per_fold = Counter((row["fold"], row["label"]) for row in rows)
    folds = {row["fold"] for row in rows}
    fewest = min(per_fold[fold, label] for fold in folds for label in sizes)
    return (
        f"{len({row['path'] for row in rows})} strings in {len(folds)} folds, {len(rows)} segments "
        f"of {len(sizes)} labels ({min(sizes.values())} to {max(sizes.values())} each, in a fold at "
        f"least {fewest})"
    )


_COLUMNS = (
    "accuracy", "macro-F1", "segment F1 at 10 %", "25 %", "50 %", "edit", "predicted : true",
    "boundary error, median",
)  # fmt: skip


def page_text(
    found: dict[str, dict[str, Any]],
    recipes: dict[str, list[str]],
    times: dict[str, Any],
    what: str,
) -> str:
    """STRINGS.md."""
    first, build = next(iter(found.values())), times["build"]
    own = [f'--recipe "{" ".join([name, *settings])}"' for name, settings in recipes.items()]
    command = " ".join(["OUT --compare", *(own if recipes is not RECIPES else [])])
    lines = [
        "# Timelines of real clips and sounds", "",
        "Written by benchmarks/studies/strings.py:", "",
        "```",
        f"python benchmarks/studies/strings.py OUT --media MEDIA {build['asked']}",
        f"python benchmarks/studies/strings.py {command}",
        "```", "",
        f"{what}; {first['n_steps']} steps of {first['step_s']:g} s, "
        f"{first['background_share']:.0%} of them background. Every string is predicted by networks "
        "that saw nothing of its fold. Scores are those of docs/timelines.md; intervals are over "
        f"{first['n_groups']} groups, the folds. Baselines are those of {next(iter(found))}.", "",
        f"{date.today()} at {commit()}. {machine()['processor']}, {machine()['cores']} cores. "
        f"{build['videos']} strings built in {build['wall_s']:.0f} s; prepared in "
        f"{times['prep']['wall_s']:.0f} s with `{' '.join(PREP)}`; cross-validated with "
        f"`{' '.join(CROSSVAL)}`.", "",
        f"| model | {' | '.join(_COLUMNS)} | seconds |",
        f"|---|{'---|' * len(_COLUMNS)}---|",
    ]  # fmt: skip
    for name, scored in found.items():
        took = times.get(crossval_key(name, recipes[name]), {}).get("wall_s")
        lines.append(f"| {name} | {cells(scored)} | {'' if took is None else f'{took:.0f}'} |")
    for name, scored in first["baselines"].items():
        lines.append(f"| baseline: {name.replace('_', ' ')} | {cells(scored)} | |")
    lines += [""]
    lines += [f"- {name}: `{' '.join(recipes[name]) or 'default'}`" for name in found]
    return "\n".join(lines) + "\n"


def cells(scored: dict[str, Any]) -> str:
    """The cells of _COLUMNS."""
    interval, boundaries = scored["accuracy_interval"], scored["boundary_errors"]
    spread = f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    ratio = scored["segment_ratio"]
    return " | ".join(
        [
            f"{scored['accuracy']:.1%}{spread}", f"{scored['macro_f1']:.3f}",
            *(f"{scored['segment_f1'][overlap]['f1']:.3f}" for overlap in ("0.1", "0.25", "0.5")),
            f"{scored['edit']:.3f}", "" if ratio is None else f"{ratio:.2f}",
            f"{boundaries['median_absolute_s']:.2f} s" if boundaries else "",
        ]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--media", type=Path, help="build the strings from this folder")
    parser.add_argument("--per-fold", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--recipe", action="append", default=[], help="NAME key=value …")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    if asked.media:
        build(asked.media, asked.out, asked.per_fold, asked.seed)
    if asked.compare:
        own = {name: settings for name, *settings in map(str.split, asked.recipe)}
        compare(asked.out, own or RECIPES, asked.page)


if __name__ == "__main__":
    main()
