"""What simple methods reach on the same clips: a model that does not beat them is not worth it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.encoding.samples import Sample
from pipeline.evaluating.metrics import score

Matrix = npt.NDArray[np.float64]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of which the validation clips choose


def describe(samples: Sequence[Sample], deviation: bool) -> Matrix:
    """[N, D]: picture features and sound bands, mean over time (and deviation), of each clip.

    A clip without one of the two has NaN there.
    """
    rows = []
    for sample in samples:
        steps = sample.n_steps
        picture = sample.picture.double().numpy()[sample.has_picture.numpy()]
        bands = sample.sound.double().numpy().reshape(steps, -1, sample.sound.shape[1])
        bands = bands[sample.has_sound.numpy()].reshape(-1, sample.sound.shape[1])
        rows.append(np.concatenate([_moments(picture, deviation), _moments(bands, deviation)]))
    return np.array(rows)


def run_baselines(
    train: tuple[Sequence[Sample], Sequence[str]],
    val: tuple[Sequence[Sample], Sequence[str]],
    test: tuple[Sequence[Sample], Sequence[str]],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Scores on test of majority guessing and of logistic regression on averages over time.

    Logistic regression is fitted on train; its strength of regularisation is chosen on val.
    """
    majority = Counter(train[1]).most_common(1)[0][0]
    results = {"majority": score(test[1], [majority] * len(test[1]), labels)}
    for name, deviation in (("logistic_mean", False), ("logistic_mean_deviation", True)):
        matrices = [describe(samples, deviation) for samples, _ in (train, val, test)]
        predicted, strength = _logistic(matrices, train[1], val[1])
        results[name] = score(test[1], predicted, labels) | {"regularisation_c": strength}
    keep = ("n", "accuracy", "macro_f1", "per_class", "regularisation_c")
    return {
        name: {key: value for key, value in result.items() if key in keep}
        for name, result in results.items()
    }


def _moments(values: Matrix, deviation: bool) -> Matrix:
    width = values.shape[1] * (2 if deviation else 1)
    if values.shape[0] == 0:
        return np.full(width, np.nan)
    mean = values.mean(axis=0)
    return np.concatenate([mean, values.std(axis=0)]) if deviation else mean


def _logistic(
    matrices: list[Matrix], train_labels: Sequence[str], val_labels: Sequence[str]
) -> tuple[list[str], float]:
    train, val, test = _filled(matrices)
    best: tuple[float, float, Any] | None = None
    for strength in _STRENGTHS:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, max_iter=300, class_weight="balanced"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak regularisation only
            model.fit(train, list(train_labels))
        accuracy = float(accuracy_score(list(val_labels), model.predict(val)))
        if best is None or accuracy > best[0]:
            best = (accuracy, strength, model)
    assert best is not None
    return [str(label) for label in best[2].predict(test)], best[1]


def _filled(matrices: list[Matrix]) -> list[Matrix]:
    """Missing values become the training mean, and a column says that they were missing."""
    means = np.zeros(matrices[0].shape[1])
    for column in range(means.size):
        present = matrices[0][~np.isnan(matrices[0][:, column]), column]
        means[column] = present.mean() if present.size else 0.0
    return [
        np.concatenate([np.where(np.isnan(m), means, m), np.isnan(m[:, [0, -1]])], axis=1)
        for m in matrices
    ]
