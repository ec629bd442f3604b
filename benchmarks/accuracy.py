"""How right: recipes × sets × folds × seeds in one table.

    python benchmarks/accuracy.py WORK… [--recipe "NAME key=value …"]… [--seeds 3] [--out FILE]

WORK are prepared folders. Folds are the manifest's where it has some, else five grouped, stratified
ones; one is tested on, the next one chosen on, the others trained on, in turn. Every clip is
predicted once per seed, by a model that saw no clip of its fold. Baselines are fitted on the same
clips. Accuracy over all clips: mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.classifying.predictor import predict
from pipeline.config import Config, load_config
from pipeline.evaluating.baselines import run_baselines
from pipeline.reporting import Silent
from pipeline.training.fit import fit
from pipeline.training.train import plan
from pipeline.training.training_data import LabelledSample, PreparedData, open_prepared

N_FOLDS = 5


@dataclass(frozen=True)
class Division:
    """Who is trained on, chosen on and tested on."""

    train: list[LabelledSample]
    val: list[LabelledSample]
    test: list[LabelledSample]


def folds_of(data: PreparedData) -> dict[str, str]:
    """Clip id → fold."""
    rows = [row for row in data.rows if row.trainable]
    if all(row.fold for row in rows):
        return {row.id: row.fold for row in rows}
    labels = np.array([row.label for row in rows])
    groups = np.array([row.group for row in rows])
    n_folds = min(N_FOLDS, len(set(groups)))
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    found = {}
    for number, (_, inside) in enumerate(splitter.split(labels, labels, groups)):
        found |= {rows[i].id: str(number) for i in inside}
    return found


def divisions(items: list[LabelledSample], fold_of: dict[str, str]) -> Iterator[Division]:
    folds = sorted(set(fold_of.values()))
    for number, test in enumerate(folds):
        val = folds[(number + 1) % len(folds)]
        of_fold = [fold_of[item.row.id] for item in items]
        yield Division(
            [item for item, fold in zip(items, of_fold, strict=True) if fold not in (test, val)],
            [item for item, fold in zip(items, of_fold, strict=True) if fold == val],
            [item for item, fold in zip(items, of_fold, strict=True) if fold == test],
        )


def all_items(data: PreparedData, config: Config) -> list[LabelledSample]:
    whole = replace(data, rows=[replace(row, split="train") for row in data.rows])
    _, card = plan(whole, config)
    return whole.samples(["train"], build_front_end(card))


def measure(data: PreparedData, config: Config, seed: int) -> tuple[float, float]:
    """Accuracy over all clips, and how far validation accuracy lay above it, one seed."""
    config = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
    whole = replace(data, rows=[replace(row, split="train") for row in data.rows])
    _, card = plan(whole, config)
    front_end = build_front_end(card)
    right: list[bool] = []
    gaps = []
    for division in divisions(all_items(data, config), folds_of(data)):
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(
                card, front_end, division.train, division.val, config, Path(folder), Silent()
            )
        found = [
            card.labels[int(predict(fitted.classifier, item.sample).argmax())] == item.row.label
            for item in division.test
        ]
        right += found
        gaps.append(fitted.chosen["val_accuracy"] - sum(found) / len(found))
    return sum(right) / len(right), statistics.mean(gaps)


def baselines(data: PreparedData, config: Config) -> dict[str, float]:
    """Accuracy over all clips of each baseline, on the same folds."""
    items = all_items(data, config)
    right: dict[str, float] = {}
    for division in divisions(items, folds_of(data)):
        parts = [
            ([item.sample for item in part], [item.row.label for item in part])
            for part in (division.train, division.val, division.test)
        ]
        for name, result in run_baselines(*parts, data.labels).items():
            right[name] = right.get(name, 0.0) + result["accuracy"] * result["n"]
    return {name: value / len(items) for name, value in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", type=Path, nargs="+")
    parser.add_argument("--recipe", action="append", default=[], help="NAME key=value …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file that the figures are added to")
    asked = parser.parse_args()
    recipes = [text.split() for text in asked.recipe] or [["default"]]
    results: dict[str, Any] = {}
    if asked.out and asked.out.exists():
        results = json.loads(asked.out.read_text())
    for work in asked.works:
        data = open_prepared(work)
        found = results.setdefault(work.name, {})
        if "baselines" not in found:
            found["baselines"] = baselines(data, load_config(None, ["device=cpu"]))
            print(work.name, {k: round(v, 3) for k, v in found["baselines"].items()}, flush=True)
        for name, *overrides in recipes:
            config = load_config(None, ["device=cpu", *overrides])
            begun_s = time.perf_counter()
            runs = [measure(data, config, seed) for seed in range(asked.seeds)]
            scores = [score for score, _ in runs]
            found[name] = {
                "settings": overrides, "accuracy": scores,
                "val_gap": [round(gap, 4) for _, gap in runs],
            }  # fmt: skip
            print(
                f"{work.name} {name}: {statistics.mean(scores):.3f} ± "
                f"{statistics.pstdev(scores):.3f} (n = {len(scores)}), validation above test by "
                f"{statistics.mean(gap for _, gap in runs):+.3f}, "
                f"{time.perf_counter() - begun_s:.0f} s",
                flush=True,
            )
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
