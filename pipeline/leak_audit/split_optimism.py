"""How far a random split would flatter: the same simple method on random and on grouped folds."""

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
_COMPONENTS = 32
_STRENGTH_C = 1.0
_MOST_ALONE = 0.9  # groups per clip; with more, the two ways of drawing are the same


@dataclass(frozen=True)
class SplitOptimism:
    """Accuracy of logistic regression on clips' average features, in folds drawn two ways."""

    random: float
    grouped: float
    n_clips: int
    n_groups: int


def split_optimism(
    features: dict[str, Matrix], clips: Sequence[ManifestRow], group_of: dict[str, str]
) -> SplitOptimism | None:
    """None where there are too few clips or groups for five folds, one label, or hardly any group
    of more than one clip, or all clips are the same.

    features: see `mean_features`; clips without are left out. group_of: {clip id: its group}.
    """
    rows = [row for row in clips if row.id in features]
    groups = [group_of[row.id] for row in rows]
    labels = np.array([row.label for row in rows])
    _, counts = np.unique(labels, return_counts=True)
    groups_of = [len({g for g, own in zip(groups, labels, strict=True) if own == label})
                 for label in np.unique(labels)]  # fmt: skip
    if len(set(groups)) > _MOST_ALONE * len(groups):
        return None
    if len(counts) < 2 or counts.min() < _FOLDS or min(groups_of) < 2 or len(set(groups)) < _FOLDS:
        return None
    matrix = np.stack([features[row.id] for row in rows])
    if not matrix.shape[1]:
        return None  # sound alone, of which no features were made
    matrix = np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)
    n_components = min(_COMPONENTS, min(matrix.shape) - 1)
    if n_components < 1:
        return None
    scaled = StandardScaler().fit_transform(matrix)
    if not scaled.any():
        return None
    matrix = PCA(n_components, svd_solver="arpack", random_state=0).fit_transform(scaled)
    matrix /= matrix[:, 0].std()  # as it comes, the solver does not converge
    with threadpool_limits(1):
        return _two_ways(matrix, labels, groups)


def _two_ways(matrix: Matrix, labels: Any, groups: list[str]) -> SplitOptimism | None:
    ways = [_dealt(kind, labels, groups) for kind in (StratifiedKFold, StratifiedGroupKFold)]
    if any(not test.size for folds in ways for _, test in folds):
        return None  # so few groups of such sizes that a fold stays empty
    shares = [_share_right(folds, matrix, labels) for folds in ways]
    return SplitOptimism(shares[0], shares[1], len(groups), len(set(groups)))


def mean_features(store: FeatureStore, ids: set[str]) -> dict[str, Matrix]:
    """{clip id: [D]}, means over time of picture and sound; NaN where a clip lacks one of them.

    A column that no clip has is left out.
    """
    means = {}
    for clip in store.read(ids, features_alone=True):
        picture = _mean(clip.features, clip.video_mask)
        sound = np.zeros(0, np.float32)
        if clip.spectrogram_features is not None:
            per_step = clip.spectrogram_features.shape[0] // clip.audio_mask.size
            sound = _mean(clip.spectrogram_features, clip.audio_mask.repeat(per_step))
        means[clip.id] = np.concatenate([picture, sound])
    if not means:
        return {}
    known = ~np.isnan(np.stack(list(means.values()))).all(axis=0)
    return {clip_id: mean[known] for clip_id, mean in means.items()}


def _mean(features: Float16Array, there: BoolArray) -> Matrix:
    if not there.any():
        return np.full(features.shape[1], np.nan, np.float32)
    mean: Matrix = features[there].mean(axis=0, dtype=np.float32)
    return mean


def _dealt(kind: Any, labels: Any, groups: Sequence[str]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels of fewer groups than folds
        return list(kind(_FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))


def _share_right(folds: list[Any], matrix: Matrix, labels: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        method = LogisticRegression(C=_STRENGTH_C, max_iter=300, class_weight="balanced")
        said = cross_val_predict(method, matrix, labels, cv=folds)
    return float((said == labels).mean())
