"""Do labels change in 16 bits? PYTHONPATH=. python benchmarks/studies/precision.py RUN FOLDER PRECISION [--most N]

Classifies the files of a folder twice with a trained run, with float32 and with float16 or bfloat16
features of its frame encoder: bfloat16 in OpenVINO where the processor computes in it, else in
torch, which does on any processor, if slowly. Prints the share of equal labels and the largest
difference of a probability.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.config import load_config
from pipeline.features.backend import Backend, has_bfloat16
from pipeline.inference.classifier import Classifier
from pipeline.inference.inputs import list_inputs
from pipeline.storage.predictions import Prediction


def classified(
    run: Path, folder: Path, most: int, library: str, precision: str
) -> dict[str, Prediction]:
    classifier = Classifier.load(run, load_config(None, ["device=cpu"]))
    classifier.backend = Backend(library, "cpu", precision)  # not by the rule
    rows = list_inputs([folder]).rows
    rows = rows[:: max(1, len(rows) // most)][:most]
    return {row.path: prediction for row, prediction in classifier.stream(rows)}


def main() -> None:
    run, folder, precision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    most = int(sys.argv[5]) if "--most" in sys.argv else 1_000_000
    library = "openvino" if precision == "bfloat16" and has_bfloat16() else "torch"
    exact, rough = (classified(run, folder, most, library, p) for p in ("float32", precision))
    pairs = [(exact[path], rough[path]) for path in exact if exact[path].status.usable]
    worst = max(
        float(abs(a.probabilities - b.probabilities).max())
        for a, b in pairs
        if a.probabilities is not None and b.probabilities is not None
    )
    same = sum(a.probabilities.argmax() == b.probabilities.argmax() for a, b in pairs)
    print(json.dumps({
        "folder": folder.name, "library": library, "precision": precision, "clips": len(pairs),
        "same_label": same / len(pairs), "worst": round(worst, 4),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
