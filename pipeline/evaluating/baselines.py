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
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.encoding.samples import Sample

Matrix = npt.NDArray[np.float64]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of which clips that were not fitted on choose
_MODALITIES = ("picture", "sound")


@dataclass(frozen=True)
class Labelled:
    """Clips and their labels, in the same order."""

    samples: Sequence[Sample]
    labels: Sequence[str]

    def __add__(self, other: Labelled) -> Labelled:
        return Labelled([*self.samples, *other.samples], [*self.labels, *other.labels])


@dataclass(frozen=True)
class BaselineAnswer:
    """What a baseline says of each clip."""

    predicted: list[str]
    regularisation_c: float | None = None


def run_baselines(
    train: Labelled, val: Labelled, test: Sequence[Sample], refit: bool = False
) -> dict[str, BaselineAnswer]:
    """What each baseline says of the test clips.

    majority: the most frequent label. presence: the most frequent one among training clips that
    have picture and sound as the clip has, so whether "has no sound" tells the label. logistic_…:
    logistic regression on features' mean over time (and deviation), of both modalities or of one.
    It is fitted on train; its strength of regularisation is chosen on val. refit: then fitted on
    both. A modality that no training clip has, or that is all there is, gets no line of its own.
    """
    known = train + val if refit else train
    results = {
        "majority": BaselineAnswer([_most_frequent(known.labels)] * len(test)),
        "presence": BaselineAnswer(_by_presence(known, test)),
    }
    for deviation, suffix in ((False, "mean"), (True, "mean_deviation")):
        described = [describe(samples, deviation) for samples in (train.samples, val.samples, test)]
        present = [name for name in _MODALITIES if not np.isnan(described[0][name]).all()]
        if not present:  # nothing to fit on
            continue
        kinds = {"": present} | ({f"{name}_": [name] for name in present} if present[1:] else {})
        for prefix, names in kinds.items():
            matrices = [np.hstack([parts[name] for name in names]) for parts in described]
            results[f"logistic_{prefix}{suffix}"] = _logistic(
                _filled(matrices), train.labels, val.labels, refit
            )
    return results


def describe(samples: Sequence[Sample], deviation: bool) -> dict[str, Matrix]:
    """{"picture", "sound"}: [N, D], mean over time (and deviation) of each clip's features.

    A clip without one of the two has NaN there.
    """
    pictures, sounds = [], []
    for sample in samples:
        picture = sample.picture.double().numpy()[sample.has_picture.numpy()]
        bands = sample.sound.double().numpy()
        bands = bands.reshape(sample.n_steps, -1, sample.sound.shape[1])
        bands = bands[sample.has_sound.numpy()].reshape(-1, sample.sound.shape[1])
        pictures.append(_moments(picture, deviation))
        sounds.append(_moments(bands, deviation))
    return {"picture": np.array(pictures), "sound": np.array(sounds)}


def _most_frequent(labels: Sequence[str]) -> str:
    return Counter(labels).most_common(1)[0][0]


def _presence(sample: Sample) -> tuple[bool, bool]:
    return bool(sample.has_picture.any()), bool(sample.has_sound.any())


def _by_presence(known: Labelled, test: Sequence[Sample]) -> list[str]:
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


def _logistic(
    matrices: list[Matrix], train_labels: Sequence[str], val_labels: Sequence[str], refit: bool
) -> BaselineAnswer:
    train, val, test = matrices
    best: tuple[float, float, Any] = (-1.0, 0.0, None)
    for strength in _STRENGTHS:
        model = _fitted(train, train_labels, strength)
        accuracy = float(accuracy_score(list(val_labels), model.predict(val)))
        if accuracy > best[0]:
            best = (accuracy, strength, model)
    _, strength, model = best
    if refit:
        both = np.concatenate([train, val])
        model = _fitted(both, [*train_labels, *val_labels], strength)
    return BaselineAnswer([str(label) for label in model.predict(test)], strength)


def _fitted(features: Matrix, labels: Sequence[str], strength: float) -> Any:
    """Rotated onto the clips' own span, where there are fewer clips than features: with a squared
    penalty that leaves the solution as it is, and is many times as fast."""
    if len(set(labels)) < 2:
        return DummyClassifier(strategy="most_frequent").fit(features, list(labels))
    steps: list[Any] = [StandardScaler()]
    if features.shape[0] < features.shape[1]:
        steps.append(PCA(svd_solver="full"))
    logistic = LogisticRegression(C=strength, max_iter=300, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # weak regularisation only
        return make_pipeline(*steps, logistic).fit(features, list(labels))


def _filled(matrices: list[Matrix]) -> list[Matrix]:
    """Missing values become the training mean, and columns say that they were missing."""
    first = matrices[0]
    counts = np.maximum(1, (~np.isnan(first)).sum(axis=0))
    means = np.nansum(first, axis=0) / counts
    return [
        np.hstack([np.where(np.isnan(m), means, m), np.isnan(m[:, [0, -1]]).astype(float)])
        for m in matrices
    ]
