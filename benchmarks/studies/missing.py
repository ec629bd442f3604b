"""What a model of both modalities is worth, and what remains of it when one is missing.

    PYTHONPATH=. python benchmarks/studies/missing.py NAME=WORK… [--seeds 3]

Cross-validates as `framewave crossval` does, with models of both modalities, of picture alone and
of sound alone. Those of both judge each clip three times: as it is, without its sound, without its
picture. Accuracy out of fold, mean over seeds; and the differences that matter with their standard
error over groups (bootstrap). Results are added to missing.json; accuracy.py --page makes the
table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.runs import commit
from data_prep.settings import TaskSettings
from models.output import ALL_MODALITIES
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.config import load_config
from pipeline.crossval.crossval import FoldOutputs, fold_outputs
from pipeline.crossval.fold_assignment import FoldAssignment, assign_folds
from pipeline.crossval.fold_models import Trainer, candidate_epochs, fold_models
from pipeline.reporter import SilentReporter
from pipeline.tasks import get_task
from pipeline.training.calibration import HeldOutOutputs
from pipeline.training.fit import clip_targets
from pipeline.training.train import plan_training
from pipeline.training.training_data import open_prepared

RESULTS = Path(__file__).resolve().parent / "missing.json"
_RESAMPLES = 2000


def course(
    assignment: FoldAssignment, settings: list[str], seeds: int, labels: tuple[str, ...], work: Path
) -> FoldOutputs:
    """What models with these settings say of all clips, each in every situation they know."""
    config = load_config(None, ["device=cpu", *settings])
    _, card = plan_training(open_prepared(work).whole, config)
    trainer = Trainer(card, build_front_end(card), assignment, config)
    with tempfile.TemporaryDirectory() as folder:
        networks = fold_models(Path(folder), assignment.folds, seeds)
        epochs = candidate_epochs(config.train.max_epochs)
        trained = trainer.train(networks, epochs, "", SilentReporter())
    return fold_outputs(
        assignment, trained, clip_targets(get_task(TaskSettings()), assignment.items, labels)
    )


def right(
    course: FoldOutputs, assignment: FoldAssignment, seeds: int, shown: str = ALL_MODALITIES
) -> np.ndarray:
    """float [N]: share of seeds that name the clip rightly when it is shown so; what is chosen is
    chosen on the other folds' clips."""
    fold_of = np.array([assignment.fold_of[item.row.id] for item in assignment.items])
    targets = next(iter(course.by_epoch.values())).targets.numpy()
    found = []
    for seed in range(seeds):
        of_seed = course.select_seeds([seed])
        named = np.zeros(len(targets), int)
        for fold in assignment.folds:
            inside = torch.from_numpy(fold_of == fold)
            choice = of_seed.select(~inside).select_epoch()
            own = of_seed.select(inside).by_epoch[choice.epoch]
            as_shown = HeldOutOutputs(
                [{**one, ALL_MODALITIES: one[shown]} for one in own.outputs], own.targets
            )
            named[fold_of == fold] = (
                as_shown.probabilities(choice.calibration).argmax(dim=1).numpy()
            )
        found.append(named == targets)
    return np.asarray(np.mean(found, axis=0))


def standard_error(difference: np.ndarray, groups: list[str]) -> float:
    """Of the mean, resampling groups."""
    rng = np.random.default_rng(0)
    names, member = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(member, difference), np.bincount(member)
    drawn = rng.integers(0, len(names), (_RESAMPLES, len(names)))
    return float((sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).std())


def measure(work: Path, seeds: int) -> dict[str, Any]:
    config = load_config(None, ["device=cpu"])
    data = open_prepared(work).whole
    rows = [row for row in data.rows if row.trainable]
    fold_of = assign_folds(rows, None, config.split.seed)
    _, card = plan_training(data, config)
    assignment = FoldAssignment(data.samples(["train"], build_front_end(card)), fold_of)
    groups = [item.row.group for item in assignment.items]
    both = course(assignment, [], seeds, card.labels, work)
    scores = {"both": right(both, assignment, seeds)}
    for kept in ("picture", "sound"):
        alone = course(assignment, [f"model.modalities={kept}"], seeds, card.labels, work)
        scores[f"{kept} alone"] = right(alone, assignment, seeds)
        scores[f"both, only {kept} there"] = right(both, assignment, seeds, kept)
    better = max(("picture alone", "sound alone"), key=lambda name: scores[name].mean())
    pairs = {
        f"both above {better}": (scores["both"], scores[better]),
        "without sound, above picture alone": (
            scores["both, only picture there"], scores["picture alone"],
        ),
        "without picture, above sound alone": (
            scores["both, only sound there"], scores["sound alone"],
        ),
    }  # fmt: skip
    return {
        "clips": len(groups), "seeds": seeds, "made": f"{date.today()} at {commit()}",
        "accuracy": {name: round(float(found.mean()), 4) for name, found in scores.items()},
        "differences": {
            name: {
                "mean": round(float((a - b).mean()), 4),
                "standard_error": round(standard_error(a - b, groups), 4),
            }
            for name, (a, b) in pairs.items()
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="+", metavar="NAME=WORK")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for item in asked.works:
        name, _, folder = item.rpartition("=")
        results[name] = measure(Path(folder), asked.seeds)
        print(name, json.dumps(results[name], indent=1), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
