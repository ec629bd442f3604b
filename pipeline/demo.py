"""The demo: makes videos, and runs on them what a user would type; then says how well it went."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import PRESETS, load_config
from pipeline.console import ConsoleReporter, err, out, print_table
from pipeline.demo_media import (
    DemoClip,
    plan_labelled,
    plan_new,
    write_clip,
    write_clips,
    write_odd_files,
    write_truth,
)
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.evaluating.clips import EvaluatedClip

_CONFIG = PRESETS / "demo.yaml"
_ALONE = ("picture", "sound")
_MARK = "made_by_framewave_demo"


def run_demo(folder: Path, count: int, seed: int, overrides: list[str]) -> None:
    """Everything from videos to the table. Raises UserError where a step fails."""
    settings = [f"train.seed={seed}", *overrides]
    config = load_config(_CONFIG, settings)
    new = _make_media(folder, count, seed)
    work, run = folder / "work", folder / "runs" / "both"
    options = ["--config", _relative(_CONFIG), *settings]
    given = [word for word in overrides if word.startswith(("classify.", "limits.", "device="))]
    _framewave("scan", str(folder / "labelled"), "--work", str(work), *options)
    _framewave("prep", str(folder / "labelled"), "--work", str(work), *options)
    _framewave("train", "--work", str(work), "--run", str(run), *options)
    for name in _ALONE:
        apart = [*options, f"model.modalities={name}"]
        _framewave("train", "--work", str(work), "--run", str(folder / "runs" / name), *apart)
        _framewave("eval", "--run", str(folder / "runs" / name), "--no-audit", *given)
    _framewave("eval", "--run", str(run), *given)
    table = folder / "predictions.csv"
    _framewave("classify", str(folder / "new"), "--run", str(run), "--out", str(table), *given)

    # The same clips once more, now with their labels, for the model and what it is compared to.
    from pipeline.evaluating.evaluation import evaluate
    from pipeline.page.page import write_report

    truth = folder / "new_labels.csv"
    report = ConsoleReporter()
    err.print("\n[bold]how much is due to picture, to sound, to order?[/]")
    evaluation = evaluate(run, truth, folder / "eval_new", config, report)
    write_report(folder / "eval_new" / "report.html", evaluation, config, report)
    accuracy = {"picture and sound": evaluation.metrics["accuracy"]}
    for name in _ALONE:
        accuracy[f"{name} alone"] = _accuracy_of(folder / "runs" / name, evaluation.judged)
    _print_result(accuracy, evaluation.metrics["baselines"], new, seed)
    out.print(f"\ntable of all new files: {table}", markup=False)
    out.print(f"report: {run / 'eval' / 'report.html'}", markup=False)
    out.print(f"report on the new clips: {folder / 'eval_new' / 'report.html'}", markup=False)
    out.print(
        "(It warns of clips of one recording: each new scene comes with all six labels, so that "
        "pictures\nand sounds repeat.)"
    )


def picture_cap(clips: list[DemoClip]) -> float:
    """Best accuracy of anyone who sees everything and hears nothing: one label per picture."""
    return _cap([(f"{clip.scene}{clip.order}", clip.label) for clip in clips])


def sound_cap(clips: list[DemoClip]) -> float:
    """Best accuracy of anyone who hears everything and sees nothing: one label per sound."""
    return _cap([(f"{clip.scene}{clip.sound}", clip.label) for clip in clips])


def _cap(known_and_label: list[tuple[str, str]]) -> float:
    labels_of: dict[str, Counter[str]] = {}
    for known, label in known_and_label:
        labels_of.setdefault(known, Counter())[label] += 1
    right = sum(counts.most_common(1)[0][1] for counts in labels_of.values())
    return right / len(known_and_label)


def _make_media(folder: Path, count: int, seed: int) -> list[DemoClip]:
    """Write the videos, or find those of the same demo again; returns the new clips."""
    mark = folder / _MARK
    text = f"{count} clips, seed {seed}\n"
    new = plan_new(folder / "new", count, seed)
    if mark.exists() and mark.read_text() == text:
        err.print(f"the videos are in {folder} already", markup=False)
        return new
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} holds something else than this demo; choose another folder with --out, "
            "or delete it"
        )
    labelled = plan_labelled(folder / "labelled", count, seed)
    silent = [
        DemoClip(folder / "new" / f"no_sound_{i}.mp4", clip.order, None, clip.scene)
        for i, clip in enumerate(new[:3])
    ]
    err.print(f"writing {len(labelled)} labelled and {len(new)} new videos into {folder}")
    write_clips([*labelled, *new])
    for clip in silent:
        write_clip(clip)
    write_odd_files(folder / "new", new[0].path, seed)
    write_truth(folder / "new_labels.csv", new)
    mark.write_text(text)
    return new


def _framewave(*arguments: str) -> None:
    """Show the command, and run it as a user would."""
    err.print(f"\n$ framewave {' '.join(arguments)}", markup=False, style="bold")
    code = subprocess.run([sys.executable, "-P", "-m", "pipeline", *arguments], check=False)
    if code.returncode:
        raise UserError(f"the demo stopped: `framewave {arguments[0]}` ended with the error above")


def _accuracy_of(run: Path, judged: list[EvaluatedClip]) -> float:
    from data_prep.dataset.clip_store import Outcome
    from pipeline.classifying.classify import Classifier

    classifier = Classifier.load(run)
    right = 0
    for clip in judged:
        assert clip.sample is not None
        outcome = Outcome(clip.prediction.status, "")
        prediction = classifier.predict_sample(clip.row.path, outcome, clip.sample)
        right += prediction.predicted(classifier.labels) == clip.row.label
    return right / len(judged)


def _print_result(
    accuracy: dict[str, float], baselines: dict[str, dict[str, float]], new: list[DemoClip],
    seed: int,
) -> None:  # fmt: skip
    caps = {"picture alone": picture_cap(new), "sound alone": sound_cap(new)}
    rows = [
        [name, f"{value:.1%}", f"{caps[name]:.1%}" if name in caps else "100.0%"]
        for name, value in accuracy.items()
    ]
    for name, result in baselines.items():
        rows.append([name.replace("_", " "), f"{result['accuracy']:.1%}", ""])
    out.print()
    title = f"accuracy on {len(new)} clips never seen in training (seed {seed})"
    print_table(["model", "accuracy", "possible at best"], rows, title)
    out.print(
        "The picture shows the order of day and night, the sound tells bird, frog or rain; each "
        "alone knows\nonly its part of the label. Logistic regression sees averages over time, "
        "which have no order."
    )


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
