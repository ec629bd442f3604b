"""Classification scores by scikit-learn, with confidence intervals over groups of clips.

Also precision-recall curves, and the order of labels in the confusion matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from data_prep.clip import BoolArray, FloatArray
from data_prep.video.sampling import evenly
from pipeline.metrics.intervals import (
    LEAST_GROUPS,
    LEVEL,
    Array,
    Groups,
    Interval,
    difference_interval,
    f1_interval,
    ratio_interval,
    residuals,
    share_interval,
)
from pipeline.metrics.metrics_schema import Difference


def score(
    truth: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """accuracy, macro_f1, per_class, confusion (rows: truth, columns: predicted, as `labels`).

    Macro-F1 is the mean over the labels that occur in truth or predictions. groups: the group of
    each clip, for the intervals; None: each clip is its own. Raises ValueError without clips.
    """
    if not truth:
        raise ValueError("there is no clip to score")
    number = {label: k for k, label in enumerate(labels)}
    return index_scores(
        np.array([number[label] for label in truth]),
        np.array([number[label] for label in predicted]),
        labels,
        groups or [str(k) for k in range(len(truth))],
    )


def index_scores(
    true: npt.NDArray[np.int_],
    predicted_index: npt.NDArray[np.int_],
    labels: Sequence[str],
    groups: Sequence[str],
) -> dict[str, Any]:
    """`score` of class indices [N], at least one."""
    counted = _Counted(true, predicted_index, len(labels), Groups(groups))
    matrix = confusion_matrix(true, predicted_index, labels=range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(
        true, predicted_index, labels=range(len(labels)), zero_division=0
    )
    # unlike scikit-learn's macro average, which counts absent labels as 0
    occurring = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    macro_f1 = float(f1[occurring].mean())
    return {
        "n": int(true.size),
        "n_groups": len(counted.groups),
        "accuracy": float((true == predicted_index).mean()),
        "accuracy_interval": _pair(counted.accuracy()),
        "macro_f1": macro_f1,
        "macro_f1_interval": _pair(counted.macro_f1(macro_f1, f1, occurring)),
        "per_class": {
            label: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(support[k]),
                "predicted": int(matrix[:, k].sum()),
                "n_groups": counted.groups_with(k),
                **{f"{name}_interval": _pair(found) for name, found in counted.of_class(k).items()},
            }
            for k, label in enumerate(labels)
        },
        "confusion": {"labels": list(labels), "counts": matrix.tolist()},
    }


def accuracy_with_interval(
    right: npt.ArrayLike, groups: Sequence[str], level: float = LEVEL
) -> tuple[float, list[float] | None]:
    """(accuracy, its confidence interval); right: bool or share [N]."""
    grouped = Groups(groups)
    rights = np.asarray(right, float)
    found = ratio_interval(grouped.sums(rights), grouped.sizes, level)
    return float(rights.mean()), _pair(found)


def paired_difference(
    right: Sequence[float] | npt.NDArray[np.bool_],
    other_right: Sequence[float] | npt.NDArray[np.bool_],
    groups: Sequence[str],
    level: float = LEVEL,
) -> Difference:
    """Paired difference of two accuracies on the same clips [N], with its interval over groups."""
    grouped = Groups(groups)
    gain = grouped.sums(np.array(right, float) - np.array(other_right, float))
    found = difference_interval(gain, grouped.sizes, level)
    mean = float(gain.sum() / grouped.sizes.sum())
    low, high = (None, None) if found is None else (found.low, found.high)
    return Difference(mean=mean, low=low, high=high, n_groups=len(grouped))


class _Counted:
    """Counts of hits and misses by group; true and predicted int [N]."""

    def __init__(
        self,
        true: npt.NDArray[np.int_],
        predicted: npt.NDArray[np.int_],
        n_labels: int,
        groups: Groups,
    ) -> None:
        self.groups = groups
        self._right = groups.sums(true == predicted)
        self._true, self._predicted = true, predicted
        self._n_labels = n_labels

    def accuracy(self) -> Interval | None:
        return ratio_interval(self._right, self.groups.sizes)

    def groups_with(self, label: int) -> int:
        """Number of groups with clips of this label."""
        return int(np.unique(self.groups.index[self._true == label]).size)

    def of_class(self, label: int) -> dict[str, Interval | None]:
        """Intervals of precision, recall and F1; None with too few groups."""
        hits, true, predicted = self._sums(label)
        return {
            "precision": ratio_interval(hits, predicted),
            "recall": ratio_interval(hits, true),
            "f1": f1_interval(hits, true, predicted),
        }

    def macro_f1(
        self, macro_f1: float, f1: Array, occurring: npt.NDArray[np.intp]
    ) -> Interval | None:
        """Interval by linearisation: each group's influence on macro-F1, summed over labels.

        None if a label has clips in too few groups.
        """
        n_groups_with = (self.groups_with(label) for label in map(int, occurring))
        if any(0 < n_groups < LEAST_GROUPS for n_groups in n_groups_with):
            return None
        influences = np.zeros(len(self.groups))
        for label in map(int, occurring):
            hits, true, predicted = self._sums(label)
            both = (true + predicted) / 2  # [G], F1 = hits / both
            influence = (hits - f1[label] * both) / both.sum()
            # the labels' denominators differ, so their residuals are taken before summing
            influences += residuals(influence, both) / occurring.size
        return share_interval(macro_f1, influences, self.groups.sizes)

    def _sums(self, label: int) -> tuple[Array, Array, Array]:
        """(true positives, clips with the label, clips predicted as it), each [G]."""
        true, predicted = self._true == label, self._predicted == label
        return (
            self.groups.sums(true & predicted),
            self.groups.sums(true),
            self.groups.sums(predicted),
        )


def _pair(found: Interval | None) -> list[float] | None:
    return None if found is None else list(asdict(found).values())


_MOST_POINTS = 60


def average_precision(has_label: BoolArray, probability: FloatArray) -> float | None:
    """Average precision; both [N]. None if no clip has the label."""
    if not has_label.any():
        return None
    area = float(average_precision_score(has_label, probability))
    return min(1.0, area)  # rounding can exceed 1


def recall_and_precision(
    has_label: BoolArray, probability: FloatArray
) -> npt.NDArray[np.float64] | None:
    """Curve [P, 2] of (recall, precision), recall rising; P ≤ 60. None if no clip has the label."""
    if not has_label.any():
        return None
    precision, recall, _ = precision_recall_curve(has_label, probability, drop_intermediate=True)
    points = np.stack([recall, precision], axis=1)[::-1]
    return np.asarray(points[evenly(len(points), _MOST_POINTS)], np.float64)


def confusion_order(counts: Sequence[Sequence[int]]) -> list[int]:
    """Order of the labels [K] in which labels that are confused are next to each other.

    counts [K, K]: rows truth, columns predicted. Average linkage on 1 − the mean confusion rate of
    two labels, with optimal leaf ordering (Bar-Joseph et al., 2001). Without any confusion the
    order stays.
    """
    matrix = np.asarray(counts, float)
    n_labels = matrix.shape[0]
    share = matrix / np.maximum(1.0, matrix.sum(axis=1, keepdims=True))  # [K, K], of each row
    similarity = (share + share.T) / 2
    np.fill_diagonal(similarity, 0.0)
    if n_labels < 3 or not similarity.any():
        return list(range(n_labels))
    distance = 1 - similarity
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(distance, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    order = [int(k) for k in leaves_list(tree)]
    return order if order[0] <= order[-1] else order[::-1]  # both directions are equally good


def most_confused(
    counts: Sequence[Sequence[int]], most: int | None = 3
) -> list[tuple[int, int, int]]:
    """(truth, predicted, n) of the most frequent confusions with n ≥ 2; most: None for all."""
    matrix = np.asarray(counts, int)
    found = [
        (int(matrix[row, column]), row, column)
        for row in range(matrix.shape[0])
        for column in range(matrix.shape[1])
        if row != column and matrix[row, column] >= 2
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [(row, column, n) for n, row, column in found[:most]]
