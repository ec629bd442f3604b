"""All temporal heads on one demo and one real set: how right, how large, how fast.

    PYTHONPATH=. python benchmarks/studies/heads.py DEMO_WORK [NAME=WORK…]

DEMO_WORK is the work folder of `framewave demo`: on it each head is trained and judged as `train`
and `eval` do (its validation clips choose the epoch). On further folders it is cross-validated with
one seed. Speed: milliseconds for one training step of 32 clips of 60 steps, and for judging one
clip of 3600 steps, as ratios to the GRU's in the same run. Results go to heads.json; accuracy.py
--page makes the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accuracy import measure
from torch import Tensor, nn

from benchmarks.runs import commit
from models.heads.clip import build_pooling
from models.settings import ModelSettings
from models.shapes import length_mask
from models.temporal import build_temporal_model
from pipeline.config import load_config
from pipeline.evaluation.evaluate import evaluate
from pipeline.reporter import SilentReporter
from pipeline.training.train import train

RESULTS = Path(__file__).resolve().parent / "heads.json"
HEADS = {
    "gru": [],
    "lstm": ["model.head=lstm"],
    "rnn (tanh)": ["model.head=rnn"],
    "layer_norm_gru": ["model.head=layer_norm_gru"],
    "layer_norm_lstm": ["model.head=layer_norm_lstm"],
    "gru, bidirectional": ["model.bidirectional=true"],
    "gru, 2 layers": ["model.head_layers=2"],
    "gru, mean": ["model.readout=mean"],
    "gru, deviation": ["model.readout=deviation"],
    "gru, attention": ["model.readout=attention"],
    "dilated, 4 layers": ["model.head=dilated", "model.head_layers=4"],
    "mean": ["model.head=mean"],
}
_FEATURES, _ROUNDS = 192, 5


class Whole(nn.Module):
    """A head and its read-out: [B, T, D] → one vector each."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.head = build_temporal_model(settings, _FEATURES)
        self.readout = build_pooling(settings.resolved_readout, settings.head_units)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        found: Tensor = self.readout(
            self.head(steps, lengths), length_mask(lengths, steps.shape[1])
        )
        return found


def speeds(settings: list[ModelSettings]) -> list[dict[str, float]]:
    """Parameters, and milliseconds of a training step and of one long clip; in turn, medians."""
    torch.manual_seed(0)
    batch, lengths = torch.randn(32, 60, _FEATURES), torch.full((32,), 60)
    long, one = torch.randn(1, 3600, _FEATURES), torch.tensor([3600])
    heads = [Whole(each) for each in settings]
    took: list[list[tuple[float, float]]] = [[] for _ in heads]
    for number in range(_ROUNDS + 1):
        for head, times in zip(heads, took, strict=True):

            def step(head: Any = head) -> None:
                head.train()(batch, lengths).square().mean().backward()

            def judge(head: Any = head) -> None:
                with torch.inference_mode():
                    head.eval()(long, one)

            both = _ms(step), _ms(judge)
            if number:  # the first is a warm-up
                times.append(both)
    return [
        {
            "parameters": sum(p.numel() for p in head.parameters()),
            "step_ms": statistics.median(t for t, _ in times),
            "clip_ms": statistics.median(t for _, t in times),
        }
        for head, times in zip(heads, took, strict=True)
    ]


def _ms(work: Callable[[], None]) -> float:
    begun_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun_s)


def trained(work: Path, overrides: list[str]) -> float:
    """Test accuracy of a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        config = load_config(None, ["device=cpu", *overrides])
        train(work, run, config, SilentReporter())
        return float(
            evaluate(run, None, None, config, SilentReporter(), audit=False).metrics["accuracy"]
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", type=Path)
    parser.add_argument("works", nargs="*", metavar="NAME=WORK")
    asked = parser.parse_args()
    settings = [load_config(None, overrides).model for overrides in HEADS.values()]
    found: dict[str, Any] = {"made": commit(), "heads": {}}
    for (name, overrides), speed in zip(HEADS.items(), speeds(settings), strict=True):
        result: dict[str, Any] = {"settings": overrides, **speed}
        result["demo"] = trained(asked.demo, overrides)
        for item in asked.works:
            of_set, _, folder = item.rpartition("=")
            result[of_set] = measure(Path(folder), overrides, 1)["pooled"]
        found["heads"][name] = result
        print(name, result, flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
