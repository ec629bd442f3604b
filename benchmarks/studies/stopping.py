"""Does the validation score of the kept model flatter? By resampling, for small and larger sets.

    PYTHONPATH=. python benchmarks/studies/stopping.py NAME=WORK… [--sizes 20 100] [--resamples 20] [--rules NAME …]
                                  [--set key=value …]

Each resample draws groups at random: clips to train on, and twice a quarter as many, of which one
part is validated and the other tested on; then the other way round, so that what makes one part
easier than the other cancels out. The gap is the kept model's validation accuracy minus its test
accuracy, the mean of both ways. Rules: what train does, the epoch with the lowest loss on
validation clips, the one with the highest macro-F1 there, and the last one of a fixed schedule
(train.patience=null). Validation accuracy is counted twice: on the very clips that chose epoch and
answers, and as train reports it, each clip judged by what the other half of them chose. Results are
added to stopping.json; accuracy.py --page makes the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from models.audio.front_end import AudioFrontEnd
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config, load_config
from pipeline.features.samples import LabelledSample
from pipeline.reporter import SilentReporter
from pipeline.training.calibration import HeldOutOutputs
from pipeline.training.fit import clip_targets, fit
from pipeline.training.train import plan_training, resolve_patience
from pipeline.training.training_data import open_prepared

RESULTS = Path(__file__).resolve().parent / "stopping.json"
_EPOCHS = "train.patience=20"  # said, it holds with few validation clips too
RULES = {
    "as train": [],
    "lowest loss": [_EPOCHS, "train.choose_by=loss"],
    "highest macro-F1": [_EPOCHS, "train.choose_by=macro_f1"],
    "last epoch": ["train.patience=null"],
}
_TRIES = 500


def divided(
    items: list[LabelledSample], size: int, seed: int
) -> tuple[list[LabelledSample], list[LabelledSample], list[LabelledSample]]:
    """(train, one part, another): whole groups in random order, every label in train."""
    rng = np.random.default_rng(seed)
    labels = {item.row.label for item in items}
    for _ in range(_TRIES):
        order = rng.permutation(sorted({item.row.group for item in items}))
        place = {group: k for k, group in enumerate(order)}
        ordered = sorted(items, key=lambda item: place[item.row.group])
        few = max(4, size // 4)
        first = _end(ordered, size)
        second = _end(ordered, first + few)
        train, one, other = ordered[:first], ordered[first:second], ordered[second:]
        other = other[: _end(other, few)]
        if {item.row.label for item in train} == labels and one and other:
            return train, one, other
    raise SystemExit(f"no division with every label in {size} training clips was found")


def _end(ordered: list[LabelledSample], n: int) -> int:
    """The end of the group that holds clip n, or of all."""
    n = min(n, len(ordered))
    while n < len(ordered) and ordered[n].row.group == ordered[n - 1].row.group:
        n += 1
    return n


def gaps(
    work: Path, size: int, resamples: int, rules: list[str], settings: list[str]
) -> dict[str, dict[str, list[float]]]:
    data = open_prepared(work)
    whole = data.whole
    found: dict[str, dict[str, list[float]]] = {}
    for rule in rules:
        config = load_config(None, ["device=cpu", *settings, *RULES[rule]])
        _, card = plan_training(whole, config)
        front_end = build_front_end(card)
        items = whole.samples(["train"], front_end)
        scores: dict[str, list[float]] = {"chosen_on": [], "val": [], "test": []}
        for seed in range(resamples):
            train, one, other = divided(items, size, seed)
            ways = [
                accuracies(card, front_end, train, val, test, config)
                for val, test in ((one, other), (other, one))
            ]
            for kind, values in scores.items():
                values.append(statistics.mean(way[kind] for way in ways))
        found[rule] = scores
    return found


def accuracies(
    card: ModelCard,
    front_end: AudioFrontEnd,
    train: list[LabelledSample],
    val: list[LabelledSample],
    test: list[LabelledSample],
    config: Config,
) -> dict[str, float]:
    """Of one model on the clips that chose it, as train reports it, and on test clips."""
    with tempfile.TemporaryDirectory() as folder:
        settled = resolve_patience(config, val)
        fitted = fit(card, front_end, train, val, settled, Path(folder), SilentReporter())
    of_val = HeldOutOutputs(
        [fitted.predict(val)], torch.cat(clip_targets(card.get_task(), val, card.labels))
    )
    of_test = HeldOutOutputs(
        [fitted.predict(test)], torch.cat(clip_targets(card.get_task(), test, card.labels))
    )
    weights = of_val.calibrate().fusion_weights
    assert fitted.val_scores is not None
    return {
        "chosen_on": of_val.scores(weights)[0],
        "val": fitted.val_scores[0],
        "test": of_test.scores(weights)[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="+", metavar="NAME=WORK")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--resamples", type=int, default=20)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--set", nargs="+", default=[], dest="settings", metavar="key=value")
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for item in asked.works:
        name, _, folder = item.rpartition("=")
        for size in asked.sizes:
            found = gaps(Path(folder), size, asked.resamples, asked.rules, asked.settings)
            results.setdefault(name, {}).setdefault(str(size), {}).update(found)
            for rule, scores in found.items():
                means = {kind: statistics.mean(values) for kind, values in scores.items()}
                print(name, size, rule, f"{means['val'] - means['test']:+.3f}, on the clips that",
                      f"chose {means['chosen_on'] - means['test']:+.3f}, test {means['test']:.3f}",
                      flush=True)  # fmt: skip
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
