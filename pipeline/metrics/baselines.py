"""What simple methods reach on the same clips: a model that does not beat them is not worth it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.features.samples import Sample

Matrix = npt.NDArray[np.float64]

_REGULARISATION_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # folds of the clips fitted on choose one
_DEFAULT_C = 1.0  # scikit-learn's
_FOLDS = 5
_MODALITIES = ("picture", "sound")


@dataclass(frozen=True)
class LabelledClips:
    """Clips, their labels and their groups, in the same order; without groups each is its own."""

    samples: Sequence[Sample]
    labels: Sequence[str]
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class BaselinePrediction:
    """What a baseline says of each clip."""

    predicted: list[str]
    regularisation_c: float | None = None


def run_baselines(known: LabelledClips, test: Sequence[Sample]) -> dict[str, BaselinePrediction]:
    """What each baseline, fitted on the known clips, says of the test clips.

    majority: the most frequent label. presence: the most frequent one among known clips that have
    picture and sound as the clip has, so whether "has no sound" tells the label. logistic_…:
    logistic regression on features' mean over time (and deviation), of both modalities or of one,
    labels weighed evenly; its strength of regularisation has the least log loss in folds of the
    known clips, no group in two of them. logistic_default: on means, as scikit-learn comes. A
    modality that no known clip has, or that is all there is, gets no line of its own.
    """
    with threadpool_limits(1):  # small products: threads that wait for each other cost more
        return _run_baselines(known, test)


def _run_baselines(known: LabelledClips, test: Sequence[Sample]) -> dict[str, BaselinePrediction]:
    results = {
        "majority": BaselinePrediction([_most_frequent(known.labels)] * len(test)),
        "presence": BaselinePrediction(_by_presence(known, test)),
    }
    for deviation, suffix in ((False, "mean"), (True, "mean_deviation")):
        described = [clip_statistics(samples, deviation) for samples in (known.samples, test)]
        present = [name for name in _MODALITIES if not np.isnan(described[0][name]).all()]
        if not present:  # nothing to fit on
            continue
        kinds = {"": present} | ({f"{name}_": [name] for name in present} if present[1:] else {})
        for prefix, names in kinds.items():
            matrices = [np.hstack([parts[name] for name in names]) for parts in described]
            filled, shown = _filled(matrices)
            strength = _select_c(filled, known)
            features = _Standardised(filled, known.labels)
            results[f"logistic_{prefix}{suffix}"] = BaselinePrediction(
                _predicted(features.fit(strength), shown), strength
            )
            if not prefix and not deviation:
                usual = features.fit(_DEFAULT_C, class_weight=None)
                results["logistic_default"] = BaselinePrediction(
                    _predicted(usual, shown), _DEFAULT_C
                )
    return results


def clip_statistics(samples: Sequence[Sample], deviation: bool) -> dict[str, Matrix]:
    """{"picture", "sound"}: [N, D], mean over time (and deviation) of each clip's features.

    A clip without one of the two has NaN there.
    """
    pictures, sounds = [], []
    for sample in samples:
        picture = sample.video.double().numpy()[sample.video_mask.numpy()]
        bands = sample.audio.double().numpy()
        bands = bands.reshape(sample.n_steps, -1, sample.audio.shape[1])
        bands = bands[sample.audio_mask.numpy()].reshape(-1, sample.audio.shape[1])
        pictures.append(_moments(picture, deviation))
        sounds.append(_moments(bands, deviation))
    return {"picture": np.array(pictures), "sound": np.array(sounds)}


def _most_frequent(labels: Sequence[str]) -> str:
    return Counter(labels).most_common(1)[0][0]


def _presence(sample: Sample) -> tuple[bool, bool]:
    return bool(sample.video_mask.any()), bool(sample.audio_mask.any())


def _by_presence(known: LabelledClips, test: Sequence[Sample]) -> list[str]:
    of_kind: dict[tuple[bool, bool], list[str]] = {}
    for sample, label in zip(known.samples, known.labels, strict=True):
        of_kind.setdefault(_presence(sample), []).append(label)
    return [_most_frequent(of_kind.get(_presence(sample), known.labels)) for sample in test]


def _moments(values: Matrix, deviation: bool) -> Matrix:
    width = values.shape[1] * (2 if deviation else 1)
    if values.shape[0] == 0:
        return np.full(width, np.nan)
    mean = values.mean(axis=0)
    return np.concatenate([mean, values.std(axis=0)]) if deviation else mean


def _predicted(model: Any, shown: Matrix) -> list[str]:
    return [str(label) for label in model.predict(shown)] if len(shown) else []


def _select_c(features: Matrix, known: LabelledClips) -> float:
    """The one whose probabilities are best on clips of groups that were not fitted on."""
    labels = np.array(known.labels)
    groups = np.array(known.groups or range(len(labels)))
    n_folds = min(_FOLDS, len(set(groups.tolist())))
    if n_folds < 2 or len(set(labels.tolist())) < 2:
        return _DEFAULT_C
    kind = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels of fewer clips than folds
        try:
            folds = list(kind.split(features, labels, groups))
        except ValueError:  # no label has as many clips as there are folds
            return _DEFAULT_C
    losses = np.zeros(len(_REGULARISATION_C))
    for inside, outside in folds:
        if not len(inside) or not len(outside) or len(set(labels[inside].tolist())) < 2:
            continue
        known_features = _Standardised(features[inside], labels[inside].tolist())
        for k, strength in enumerate(_REGULARISATION_C):
            losses[k] += _log_loss(known_features.fit(strength), features[outside], labels[outside])
    return _REGULARISATION_C[int(np.argmin(losses))]


def _log_loss(model: Any, features: Matrix, labels: npt.NDArray[Any]) -> float:
    """Summed over clips; a label that was not fitted on counts as a chance of 1e-6."""
    chances = model.predict_proba(features)
    place = {str(label): k for k, label in enumerate(model.classes_)}
    own = [chances[row, place[label]] if label in place else 0.0
           for row, label in enumerate(labels.tolist())]  # fmt: skip
    return float(-np.log(np.maximum(own, 1e-6)).sum())


class _Standardised:
    """Clips to fit on, standardised, and projected by PCA onto all its components where they are
    fewer than the features: with an L2 penalty the solution stays the same, many times as fast."""

    def __init__(self, features: Matrix, labels: Sequence[str]) -> None:
        self._labels = list(labels)
        steps: list[Any] = [StandardScaler()]
        if features.shape[0] < features.shape[1]:
            steps.append(PCA(svd_solver="full"))
        self._transform = make_pipeline(*steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all clips the same: no variance
            self._features = self._transform.fit_transform(features)

    def fit(self, strength: float, class_weight: str | None = "balanced") -> Any:
        """A classifier of features as they were before rotation."""
        if len(set(self._labels)) < 2:
            model = DummyClassifier(strategy="most_frequent")
        else:
            model = LogisticRegression(C=strength, max_iter=300, class_weight=class_weight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak regularisation only
            model.fit(self._features, self._labels)
        return make_pipeline(self._transform, model)


def _filled(matrices: list[Matrix]) -> list[Matrix]:
    """Missing values become the training mean, and columns say that they were missing."""
    first = matrices[0]
    counts = np.maximum(1, (~np.isnan(first)).sum(axis=0))
    means = np.nansum(first, axis=0) / counts
    return [
        np.hstack([np.where(np.isnan(m), means, m), np.isnan(m[:, [0, -1]]).astype(float)])
        for m in matrices
    ]
