"""Estimate how optimistic a random split is, compared with one that keeps groups together.

The same logistic regression is cross-validated on random and on grouped folds; the difference of
the two accuracies is the optimism.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data_prep.clip import BoolArray
from data_prep.manifest import ManifestRow
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.feature_store import FeatureStore

Matrix = npt.NDArray[np.float32]

_FOLDS = 5
_COMPONENTS = 32  # of the PCA; keeps the regression fast on wide features
_STRENGTH_C = 1.0  # inverse regularisation strength, scikit-learn's default
_MOST_ALONE = 0.9  # groups per clip; with more, random and grouped folds are nearly the same


@dataclass(frozen=True)
class SplitOptimism:
    """Accuracy of logistic regression on mean features, with random and with grouped folds."""

    random: float
    grouped: float
    n_clips: int
    n_groups: int


def split_optimism(
    features: dict[str, Matrix], clips: Sequence[ManifestRow], group_of: dict[str, str]
) -> SplitOptimism | None:
    """Cross-validate on random and on grouped folds.

    features: see `mean_features`; clips without features are left out. group_of: {clip id: group}.
    None where it cannot be estimated: too few clips or groups for five folds, a single label,
    hardly any group of several clips, no features, or all clips equal.
    """
    rows = [row for row in clips if row.id in features]
    groups = [group_of[row.id] for row in rows]
    labels = np.array([row.label for row in rows])
    _, counts = np.unique(labels, return_counts=True)
    n_groups_per_label = [
        len({group for group, own in zip(groups, labels, strict=True) if own == label})
        for label in np.unique(labels)
    ]
    if len(set(groups)) > _MOST_ALONE * len(groups):
        return None
    if (
        len(counts) < 2
        or counts.min() < _FOLDS
        or min(n_groups_per_label) < 2
        or len(set(groups)) < _FOLDS
    ):
        return None
    matrix = np.stack([features[row.id] for row in rows])
    if not matrix.shape[1]:
        return None  # sound only, without pretrained sound features
    # clips without picture or sound get the mean, which says nothing
    matrix = np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)
    # arpack needs fewer components than rows and columns
    n_components = min(_COMPONENTS, min(matrix.shape) - 1)
    if n_components < 1:
        return None
    scaled = StandardScaler().fit_transform(matrix)
    if not scaled.any():  # all clips are equal
        return None
    matrix = PCA(n_components, svd_solver="arpack", random_state=0).fit_transform(scaled)
    matrix /= matrix[:, 0].std()  # unscaled, the solver does not converge
    with threadpool_limits(1):  # BLAS threads cost more than they gain on matrices this small
        return _cross_validate(matrix, labels, groups)


def _cross_validate(matrix: Matrix, labels: Any, groups: list[str]) -> SplitOptimism | None:
    random_and_grouped = [
        _folds(kind, labels, groups) for kind in (StratifiedKFold, StratifiedGroupKFold)
    ]
    if any(not test.size for folds in random_and_grouped for _, test in folds):
        return None  # few groups of uneven size can leave a fold empty
    accuracies = [_accuracy(folds, matrix, labels) for folds in random_and_grouped]
    return SplitOptimism(accuracies[0], accuracies[1], len(groups), len(set(groups)))


def mean_features(store: FeatureStore, ids: set[str]) -> dict[str, Matrix]:
    """{clip id: float32 [D]}: frame features and sound features, each averaged over time.

    NaN where a clip lacks one of the two; columns that no clip has are left out.
    """
    means = {}
    for clip in store.read(ids, features_alone=True):
        picture = _mean(clip.features, clip.video_mask)
        sound = np.zeros(0, np.float32)
        if clip.spectrogram_features is not None:
            # spectrogram features can come several per time step
            per_step = clip.spectrogram_features.shape[0] // clip.audio_mask.size
            sound = _mean(clip.spectrogram_features, clip.audio_mask.repeat(per_step))
        means[clip.id] = np.concatenate([picture, sound])
    if not means:
        return {}
    known = ~np.isnan(np.stack(list(means.values()))).all(axis=0)  # [D]
    return {clip_id: mean[known] for clip_id, mean in means.items()}


def _mean(features: Float16Array, mask: BoolArray) -> Matrix:
    if not mask.any():
        return np.full(features.shape[1], np.nan, np.float32)
    mean: Matrix = features[mask].mean(axis=0, dtype=np.float32)
    return mean


def _folds(kind: Any, labels: Any, groups: Sequence[str]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns of labels with fewer groups than folds
        return list(kind(_FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))


def _accuracy(folds: list[Any], matrix: Matrix, labels: Any) -> float:
    with warnings.catch_warnings():
        # an estimate is enough; both kinds of folds are cut off alike
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=_STRENGTH_C, max_iter=300, class_weight="balanced")
        predicted = cross_val_predict(model, matrix, labels, cv=folds)
    return float((predicted == labels).mean())
