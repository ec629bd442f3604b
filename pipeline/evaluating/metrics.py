"""Scores of predictions, as scikit-learn computes them, in the layout of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

METRICS_VERSION = 1


def score(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """accuracy, macro_f1, per_class, confusion (rows: truth, columns: predicted, as `labels`).

    Macro-F1 is the mean over labels that occur in truth or predictions; a label that occurs in
    neither has no score. Raises ValueError if there is nothing to score.
    """
    if not truth:
        raise ValueError("there is no clip to score")
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=list(labels), zero_division=0
    )
    matrix = confusion_matrix(truth, predicted, labels=list(labels))
    occurring = [i for i, label in enumerate(labels) if label in {*truth, *predicted}]
    return {
        "n": len(truth),
        "accuracy": sum(t == p for t, p in zip(truth, predicted, strict=True)) / len(truth),
        "macro_f1": float(sum(f1[i] for i in occurring) / len(occurring)),
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": {"labels": list(labels), "counts": matrix.tolist()},
    }
