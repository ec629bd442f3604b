"""How well probabilities rank clips, label by label: precision against recall."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve

from data_prep.clip import BoolArray, FloatArray
from data_prep.frames.sampling import evenly

_MOST_POINTS = 60


def average_precision(has_label: BoolArray, probability: FloatArray) -> float | None:
    """Area under the precision-recall steps; both [N]. None where no clip has the label."""
    if not has_label.any():
        return None
    area = float(average_precision_score(has_label, probability))
    return min(1.0, area)  # of sums of parts


def recall_and_precision(
    has_label: BoolArray, probability: FloatArray
) -> npt.NDArray[np.float64] | None:
    """[P, 2], recall rising; at most 60 points. None where no clip has the label."""
    if not has_label.any():
        return None
    precision, recall, _ = precision_recall_curve(has_label, probability, drop_intermediate=True)
    points = np.stack([recall, precision], axis=1)[::-1]
    return np.asarray(points[evenly(len(points), _MOST_POINTS)], np.float64)
