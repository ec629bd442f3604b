"""How right: recipes × prepared sets × seeds, out of fold, in one table.

    PYTHONPATH=. python benchmarks/studies/accuracy.py NAME=WORK… [--recipe "NAME key=value …"]… [--seeds 3] [--page]

WORK are prepared folders, NAME what the table calls them. Each recipe is cross-validated as
`framewave crossval` does it, on the manifest's folds where it has some, else on five grouped,
stratified ones: every clip is predicted by networks that saw no clip of its fold, and so are the
baselines'. Accuracy over all clips: mean and standard deviation over seeds, and of all seeds
averaged. Results are added to accuracy.json;
--page writes ACCURACY.md from it and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.runs import commit
from pipeline.checkpoints.checkpoint import load_model
from pipeline.config import load_config
from pipeline.crossval.crossval import crossval
from pipeline.evaluation.evaluation_files import OutOfFold
from pipeline.metrics.scoring import model_scores
from pipeline.reporter import SilentReporter

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "accuracy.json", HERE / "ACCURACY.md"
STOPPING, HEADS, MISSING = (HERE / f"{name}.json" for name in ("stopping", "heads", "missing"))
SETTINGS = ["device=cpu"]


def measure(work: Path, overrides: list[str], seeds: int) -> dict[str, Any]:
    """One recipe on one set. Networks on all clips are not needed: the ensemble is left."""
    settings = [*SETTINGS, f"crossval.seeds={seeds}", "crossval.final=ensemble", *overrides]
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        kept = crossval(work, Path(folder) / "run", load_config(None, settings), SilentReporter())
        model = load_model(Path(folder) / "run")
    summary = kept.summary
    return {
        "settings": overrides,
        "accuracy": summary["accuracy_per_seed"],
        **pooled(kept, model.card.labels),
        "parameters": sum(p.numel() for p in model.classifier.first.parameters()),
        "seconds": round(time.perf_counter() - begun_s),
        "folds": len(summary["folds"]),
        "answers": [name for name, weight in summary["answer_weights"]["all"].items() if weight],
        "epochs": summary["epochs"],
        "temperatures": summary["temperatures"],
        "baselines": {
            name: {"accuracy": found["accuracy"], "difference": found["difference"]}
            for name, found in summary["baselines"].items()
        },
        "made": f"{date.today()} at {commit()}",
    }


def pooled(kept: OutOfFold, labels: tuple[str, ...]) -> dict[str, Any]:
    """Scores of all seeds averaged."""
    judged = [clip for clip in kept.clips if clip.prediction.probabilities is not None]
    scores = model_scores(judged, labels)
    return {
        "pooled": scores["accuracy"], "n": scores["n"], "calibration": scores["calibration"],
    }  # fmt: skip


def page(results: dict[str, dict[str, Any]]) -> str:
    """ACCURACY.md."""
    lines = [
        "# Accuracy", "",
        "Written by `benchmarks/studies/accuracy.py --page` from `benchmarks/studies/accuracy.json`. Every clip is "
        "predicted by networks that were not trained on its fold. *One seed*: mean ± standard "
        "deviation over seeds; *averaged*: all seeds' answers together. *Best baseline*: the best "
        "of majority, presence and logistic regressions on the same folds; the difference is that "
        "of the averaged answer, with its 95 % interval over groups. *Calibration*: root of the "
        "debiased squared error in bins of equal numbers of clips, and how often a perfectly "
        "calibrated model would look no better.",
    ]  # fmt: skip
    for name, recipes in results.items():
        first = next(iter(recipes.values()))
        lines += ["", f"## {name}: {first['n']} clips, {first['folds']} folds", ""]
        lines += [
            "| recipe | one seed (n) | averaged | best baseline | difference | calibration | "
            "answers used | parameters | seconds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(recipe, found) for recipe, found in recipes.items()]
        baselines = ", ".join(
            f"{key.replace('_', ' ')} {value['accuracy']:.1%}"
            for key, value in first["baselines"].items()
        )
        lines += ["", f"Baselines of {next(iter(recipes))}: {baselines}."]
        lines += ["", *_settings(recipes)]
    if HEADS.exists():
        lines += ["", *_heads(json.loads(HEADS.read_text()))]
    if MISSING.exists():
        lines += ["", *_missing(json.loads(MISSING.read_text()))]
    if STOPPING.exists():
        lines += ["", *_stopping(json.loads(STOPPING.read_text()))]
    return "\n".join(lines).rstrip() + "\n"


def _line(recipe: str, found: dict[str, Any]) -> str:
    scores, name = found["accuracy"], best_baseline(found)
    best, c = found["baselines"][name], found["calibration"]
    low, high = best["difference"]["low"] or 0.0, best["difference"]["high"] or 0.0
    deviation = f" ± {statistics.stdev(scores):.1%}" if scores[1:] else ""
    return (
        f"| {recipe} | {statistics.mean(scores):.1%}{deviation} ({len(scores)}) | "
        f"{found['pooled']:.1%} | {best['accuracy']:.1%} ({name.replace('_', ' ')}) | "
        f"{best['difference']['mean'] * 100:+.1f} ({low * 100:+.1f} to {high * 100:+.1f}) | "
        + (f"{c['error']:.3f}, p = {c['p_value']:.2f}" if c else "")
        + f" | {', '.join(found['answers'])} | {found['parameters']:,} | {found['seconds']} |"
    )


def best_baseline(found: dict[str, Any]) -> str:
    baselines = found["baselines"]
    return str(max(baselines, key=lambda name: baselines[name]["accuracy"]))


def _settings(recipes: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"- {name}: `{' '.join(found['settings']) or 'default'}`, {found['made']}"
        for name, found in recipes.items()
    ]


def _heads(results: dict[str, Any]) -> list[str]:
    """The table of benchmarks/studies/heads.py."""
    heads = results["heads"]
    own = {"settings", "parameters", "step_ms", "clip_ms"}
    sets = [name for name in next(iter(heads.values())) if name not in own]
    first = next(iter(heads.values()))
    lines = [
        "## Heads", "",
        "`benchmarks/studies/heads.py`: accuracy on the demo's test clips, as trained by `train`; on other "
        "sets out of fold, one seed. Parameters and time of head and read-out alone, behind 192 "
        "features per step, as a multiple of the GRU's time in the same run: a training step of 32 "
        "clips of 60 steps, and one clip of 3600 steps.", "",
        f"| head | {' | '.join(sets)} | parameters | training step | long clip |",
        f"|---|{'---|' * len(sets)}---|---|---|",
    ]  # fmt: skip
    for name, found in heads.items():
        scores = " | ".join(f"{found[of_set]:.1%}" for of_set in sets)
        times = " | ".join(f"{found[key] / first[key]:.1f}×" for key in ("step_ms", "clip_ms"))
        lines.append(f"| {name} | {scores} | {found['parameters']:,} | {times} |")
    return lines


def _missing(results: dict[str, Any]) -> list[str]:
    """The table of benchmarks/studies/missing.py."""
    lines = [
        "## Both modalities, and one of them missing", "",
        "`benchmarks/studies/missing.py`: accuracy out of fold, mean over seeds, of models of both "
        "modalities and of one alone; differences with their standard error over groups.",
    ]  # fmt: skip
    for name, found in results.items():
        lines += ["", f"{name}, {found['clips']} clips, {found['seeds']} seeds:", ""]
        lines += [f"- {what}: {value:.1%}" for what, value in found["accuracy"].items()]
        lines += [
            f"- {what}: {d['mean'] * 100:+.1f} ± {d['standard_error'] * 100:.1f} points"
            for what, d in found["differences"].items()
        ]
    return lines


def _stopping(results: dict[str, Any]) -> list[str]:
    """The table of benchmarks/studies/stopping.py."""
    lines = [
        "## Which epoch is kept", "",
        "`benchmarks/studies/stopping.py`: validation accuracy of the kept model, as train reports it, "
        "minus its test accuracy; the same with validation accuracy on the very clips that chose; "
        "mean ± standard error over resamples; and mean test accuracy.", "",
        "| set | training clips | rule | validation above test | on the clips that chose | test "
        "accuracy | resamples |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, sizes in results.items():
        for size, rules in sizes.items():
            for rule, scores in rules.items():
                gaps = " | ".join(
                    _gap(scores[kind], scores["test"]) for kind in ("val", "chosen_on")
                )
                lines.append(
                    f"| {name} | {size} | {rule} | {gaps} | "
                    f"{statistics.mean(scores['test']):.1%} | {len(scores['test'])} |"
                )
    return lines


def _gap(val: list[float], test: list[float]) -> str:
    gap = [100 * (v - t) for v, t in zip(val, test, strict=True)]
    return f"{statistics.mean(gap):+.1f} ± {statistics.stdev(gap) / len(gap) ** 0.5:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="*", metavar="NAME=WORK")
    parser.add_argument("--recipe", action="append", default=[], help="NAME key=value …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    recipes = [text.split() for text in asked.recipe] or [["default"]]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for item in asked.works:
        name, _, folder = item.rpartition("=")
        for recipe, *overrides in recipes:
            found = measure(Path(folder), overrides, asked.seeds)
            results.setdefault(name or Path(folder).name, {})[recipe] = found
            print(name, _line(recipe, found), flush=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if asked.page:
        PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
