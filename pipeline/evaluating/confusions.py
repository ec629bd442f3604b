"""The confusion matrix with what is confused side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform


def confusion_order(counts: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the labels, those that are taken for each other next to each other.

    counts [K, K]: rows truth, columns predicted. Average linkage of 1 − the mean share taken for
    each other, leaves ordered so that neighbours are near (Bar-Joseph and others, 2001). Labels
    that are never confused keep their own order.
    """
    matrix = np.asarray(counts, float)
    n_labels = matrix.shape[0]
    share = matrix / np.maximum(1.0, matrix.sum(axis=1, keepdims=True))
    likeness = (share + share.T) / 2
    np.fill_diagonal(likeness, 0.0)
    if n_labels < 3 or not likeness.any():
        return list(range(n_labels))
    distance = 1 - likeness
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(distance, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    order = [int(k) for k in leaves_list(tree)]
    return order if order[0] <= order[-1] else order[::-1]


def most_confused(
    counts: Sequence[Sequence[int]], most: int | None = 3
) -> list[tuple[int, int, int]]:
    """(truth, predicted, clips) of the most frequent confusions, at least two clips each.

    most: at most so many; None: all."""
    matrix = np.asarray(counts, int)
    found = [
        (int(matrix[row, column]), row, column)
        for row in range(matrix.shape[0])
        for column in range(matrix.shape[1])
        if row != column and matrix[row, column] >= 2
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [(row, column, n) for n, row, column in found[:most]]
