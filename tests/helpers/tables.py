"""Reading tables back."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pipeline.storage.predictions import Prediction


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(prediction: Prediction, labels: Sequence[str]) -> str:
    """The most probable label, or "" without a prediction."""
    if prediction.probabilities is None:
        return ""
    return labels[int(prediction.probabilities.argmax())]
