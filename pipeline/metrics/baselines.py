"""Baselines: majority, presence of modalities, and logistic regression, of clips and of steps."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data_prep.segments import UNKNOWN
from pipeline.features.samples import Sample
from pipeline.metrics.segments import runs

Matrix = npt.NDArray[np.float64]

_REGULARISATION_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # one is chosen by cross-validation
_DEFAULT_C = 1.0  # scikit-learn's
_FOLDS = 5
_MODALITIES = ("picture", "sound")


@dataclass(frozen=True)
class LabelledClips:
    """Samples, labels and groups in the same order; without groups, each clip is its own group."""

    samples: Sequence[Sample]
    labels: Sequence[str]
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class BaselinePrediction:
    """A baseline's label for each clip."""

    predicted: list[str]
    regularisation_c: float | None = None


def run_baselines(known: LabelledClips, test: Sequence[Sample]) -> dict[str, BaselinePrediction]:
    """{baseline: predictions for the test clips}, each fitted on the known clips.

    majority: the most frequent label. presence: the most frequent label of the known clips with the
    same modalities, which shows whether their presence predicts the label. logistic_…: logistic
    regression on the features' mean over time (and standard deviation), of both modalities or of
    one, with balanced class weights and the C with the lowest log loss in a grouped
    cross-validation on the known clips. logistic_default: on means, with
    scikit-learn's defaults. A modality that no known clip has, or the only one, gets no baseline.
    """
    with threadpool_limits(1):  # small matrices: synchronising threads takes longer
        return _run_baselines(known, test)


def _run_baselines(known: LabelledClips, test: Sequence[Sample]) -> dict[str, BaselinePrediction]:
    results = {
        "majority": BaselinePrediction([_most_frequent(known.labels)] * len(test)),
        "presence": BaselinePrediction(_by_presence(known, test)),
    }
    for deviation, suffix in ((False, "mean"), (True, "mean_deviation")):
        statistics = [clip_statistics(samples, deviation) for samples in (known.samples, test)]
        present = [name for name in _MODALITIES if not np.isnan(statistics[0][name]).all()]
        if not present:  # no known clip has any feature
            continue
        subsets = {"": present} | ({f"{name}_": [name] for name in present} if present[1:] else {})
        for prefix, names in subsets.items():
            matrices = [np.hstack([parts[name] for name in names]) for parts in statistics]
            features_known, test_features = _impute(matrices)
            strength = _select_c(features_known, known)
            features = _Standardised(features_known, known.labels)
            results[f"logistic_{prefix}{suffix}"] = BaselinePrediction(
                _predicted(features.fit(strength), test_features), strength
            )
            if not prefix and not deviation:
                default = features.fit(_DEFAULT_C, class_weight=None)
                results["logistic_default"] = BaselinePrediction(
                    _predicted(default, test_features), _DEFAULT_C
                )
    return results


def clip_statistics(samples: Sequence[Sample], deviation: bool) -> dict[str, Matrix]:
    """{"picture", "sound"}: mean over time (and standard deviation) of each clip's features.

    [N, D], or [N, 2 D] with deviation; NaN in the rows of clips that lack the modality.
    """
    pictures, sounds = [], []
    for sample in samples:
        picture = sample.video.double().numpy()[sample.video_mask.numpy()]
        bands = sample.audio.double().numpy()
        bands = bands.reshape(sample.n_steps, -1, sample.audio.shape[1])  # [T, frames per step, D]
        bands = bands[sample.audio_mask.numpy()].reshape(-1, sample.audio.shape[1])  # [M, D]
        pictures.append(_moments(picture, deviation))
        sounds.append(_moments(bands, deviation))
    return {"picture": np.array(pictures), "sound": np.array(sounds)}


def _most_frequent(labels: Sequence[str]) -> str:
    return Counter(labels).most_common(1)[0][0]


def _presence(sample: Sample) -> tuple[bool, bool]:
    return bool(sample.video_mask.any()), bool(sample.audio_mask.any())


def _by_presence(known: LabelledClips, test: Sequence[Sample]) -> list[str]:
    by_presence: dict[tuple[bool, bool], list[str]] = {}
    for sample, label in zip(known.samples, known.labels, strict=True):
        by_presence.setdefault(_presence(sample), []).append(label)
    return [_most_frequent(by_presence.get(_presence(sample), known.labels)) for sample in test]


def _moments(values: Matrix, deviation: bool) -> Matrix:
    width = values.shape[1] * (2 if deviation else 1)
    if values.shape[0] == 0:
        return np.full(width, np.nan)  # imputed in `_impute`
    mean = values.mean(axis=0)
    return np.concatenate([mean, values.std(axis=0)]) if deviation else mean


def _predicted(model: Any, features: Matrix) -> list[str]:
    return [str(label) for label in model.predict(features)] if len(features) else []


def _select_c(features: Matrix, known: LabelledClips) -> float:
    """The C with the lowest log loss in a cross-validation by group."""
    labels = np.array(known.labels)
    groups = np.array(known.groups or range(len(labels)))
    n_folds = min(_FOLDS, len(set(groups.tolist())))
    if n_folds < 2 or len(set(labels.tolist())) < 2:
        return _DEFAULT_C
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer clips than folds
        try:
            folds = list(splitter.split(features, labels, groups))
        except ValueError:  # no label has as many clips as there are folds
            return _DEFAULT_C
    losses = np.zeros(len(_REGULARISATION_C))
    for fitted, held_out in folds:
        if not len(fitted) or not len(held_out) or len(set(labels[fitted].tolist())) < 2:
            continue
        known_features = _Standardised(features[fitted], labels[fitted].tolist())
        for k, strength in enumerate(_REGULARISATION_C):
            losses[k] += _log_loss(
                known_features.fit(strength), features[held_out], labels[held_out]
            )
    return _REGULARISATION_C[int(np.argmin(losses))]


def _log_loss(model: Any, features: Matrix, labels: npt.NDArray[Any]) -> float:
    """Log loss summed over clips; probabilities below 1e-6, or of unseen labels, count as 1e-6."""
    probabilities = model.predict_proba(features)
    column = {str(label): k for k, label in enumerate(model.classes_)}
    of_label = [probabilities[row, column[label]] if label in column else 0.0
           for row, label in enumerate(labels.tolist())]  # fmt: skip
    return float(-np.log(np.maximum(of_label, 1e-6)).sum())


class _Standardised:
    """Standardised features for fitting, rotated by PCA if there are fewer clips than features."""

    def __init__(self, features: Matrix, labels: Sequence[str]) -> None:
        self._labels = list(labels)
        steps: list[Any] = [StandardScaler()]
        if features.shape[0] < features.shape[1]:
            # an L2 penalty is invariant to rotation: the same solution, many times faster
            steps.append(PCA(svd_solver="full"))
        self._transform = make_pipeline(*steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all clips identical: no variance
            self._features = self._transform.fit_transform(features)

    def fit(self, strength: float, class_weight: str | None = "balanced") -> Any:
        """A classifier that takes features as they were before standardisation and rotation."""
        if len(set(self._labels)) < 2:
            model = DummyClassifier(strategy="most_frequent")  # LogisticRegression needs two labels
        else:
            model = LogisticRegression(C=strength, max_iter=300, class_weight=class_weight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak regularisation only
            model.fit(self._features, self._labels)
        return make_pipeline(self._transform, model)


def _impute(matrices: list[Matrix]) -> list[Matrix]:
    """Impute the mean of the first matrix, and append indicators of missing modalities."""
    first = matrices[0]
    counts = np.maximum(1, (~np.isnan(first)).sum(axis=0))
    means = np.nansum(first, axis=0) / counts
    return [
        # the first column is of the first modality, the last one of the last
        np.hstack([np.where(np.isnan(m), means, m), np.isnan(m[:, [0, -1]]).astype(float)])
        for m in matrices
    ]


_WINDOW_S = 5.0
_MAX_STEPS = 50_000  # that a regression is fitted on; of more, evenly spaced ones
_STEP_ITERATIONS = 300


def run_step_baselines(
    samples: Sequence[Sample],
    truths: Sequence[npt.NDArray[np.int64]],
    test: Sequence[Sample],
    labels: Sequence[str],
    step_s: float,
) -> dict[str, BaselinePrediction]:
    """{baseline: decisions for the test files}, each fitted on files with their true classes.

    majority: the most frequent class. logistic_step: logistic regression on the features of a step.
    logistic_window: the same on mean and standard deviation of the features in 5 s around the step.
    logistic_clips: a classifier of whole segments, each as a clip, by mean and deviation; a step
    gets the class of the window of 5 s around it. A decision is the class of each step, one per
    line.
    """
    known = np.concatenate(truths)
    known = known[known != UNKNOWN]
    majority = Counter(known.tolist()).most_common(1)[0][0]
    found = {"majority": ["\n".join([labels[majority]] * s.n_steps) for s in test]}
    n_window = max(1, round(_WINDOW_S / step_s))
    if np.unique(known).size > 1:
        with threadpool_limits(1):  # small matrices: synchronising threads takes longer
            for name, window in (("logistic_step", 1), ("logistic_window", n_window)):
                inputs = np.concatenate([step_features(sample, window) for sample in samples])
                model = _regression(inputs, np.concatenate(truths))
                found[name] = _by_step(model, test, labels, window)
            model = _regression(*_segments_as_clips(samples, truths))
            found["logistic_clips"] = _by_step(model, test, labels, n_window)
    return {name: BaselinePrediction(decisions) for name, decisions in found.items()}


def _segments_as_clips(
    samples: Sequence[Sample], truths: Sequence[npt.NDArray[np.int64]]
) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Mean and deviation of the features of each run of one class [N, 2 D], and the classes [N]."""
    rows, classes = [], []
    for sample, truth in zip(samples, truths, strict=True):
        features = step_features(sample, 1)
        for run in runs(truth):
            rows.append(_moments(features[run.start : run.end], deviation=True))
            classes.append(run.label)
    return np.array(rows), np.array(classes)


def _regression(inputs: Matrix, targets: npt.NDArray[np.int64]) -> Any:
    usable = np.flatnonzero(targets != UNKNOWN)
    if usable.size > _MAX_STEPS:
        usable = usable[np.linspace(0, usable.size - 1, _MAX_STEPS).astype(int)]
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=_STEP_ITERATIONS, class_weight="balanced")
    )
    return model.fit(inputs[usable], targets[usable])


def _by_step(model: Any, test: Sequence[Sample], labels: Sequence[str], window: int) -> list[str]:
    return [
        "\n".join(labels[k] for k in model.predict(step_features(sample, window)))
        for sample in test
    ]


def step_features(sample: Sample, window: int) -> Matrix:
    """Features of each step, [T, D]: picture, sound, and whether the step has them.

    window: 1, or the number of steps around each over which mean and deviation are taken.
    """
    n_steps = sample.n_steps
    sound = sample.audio.double().numpy()
    sound = sound.reshape(n_steps, sound.shape[0] // n_steps, -1).mean(axis=1)
    masks = np.stack([sample.video_mask.numpy(), sample.audio_mask.numpy()], axis=1).astype(float)
    parts = [sample.video.double().numpy() * masks[:, :1], sound * masks[:, 1:], masks]
    features = np.concatenate(parts, axis=1)  # [T, D]
    if window == 1:
        return features
    mean = uniform_filter1d(features, window, axis=0, mode="nearest")
    squares = uniform_filter1d(features**2, window, axis=0, mode="nearest")
    return np.concatenate([mean, np.sqrt(np.maximum(0, squares - mean**2))], axis=1)
