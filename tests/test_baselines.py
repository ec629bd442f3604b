import numpy as np
import torch

from data_prep.segments import UNKNOWN
from pipeline.features.samples import Sample
from pipeline.metrics.baselines import (
    LabelledClips,
    clip_statistics,
    run_baselines,
    run_step_baselines,
)


def sample(picture: list[float], sound: list[float], seen: bool = True, heard: bool = True):
    steps = len(picture)
    return Sample(
        torch.tensor(picture)[:, None].half(), torch.tensor(sound)[:, None],
        torch.full((steps,), seen), torch.full((steps,), heard),
    )  # fmt: skip


def test_described_by_mean_and_deviation() -> None:
    parts = clip_statistics([sample([1.0, 3.0], [2.0, 2.0])], deviation=True)
    assert parts["picture"].tolist() == [[2.0, 1.0]]
    assert parts["sound"].tolist() == [[2.0, 0.0]]


def test_missing_modality_is_no_zero() -> None:
    parts = clip_statistics([sample([1.0, 3.0], [2.0, 2.0], heard=False)], deviation=False)
    assert parts["picture"].tolist() == [[2.0]]
    assert np.isnan(parts["sound"]).all()  # filled with the training mean and flagged later


def test_averages_find_level_but_not_order() -> None:
    def level(i: int, value: float) -> Sample:
        return sample([value, value + 0.01 * (i % 3)], [0.0, 0.0])

    def order(i: int, up: bool) -> Sample:
        low, high = 0.01 * (i % 3), 1.0
        return sample([low, high] if up else [high, low], [0.0, 0.0])

    for make, solvable in ((level, True), (order, False)):
        data = [(make(i, bool(i % 2)), "ab"[i % 2]) for i in range(24)]
        half = LabelledClips([s for s, _ in data[:12]], [y for _, y in data[:12]])
        truth = [y for _, y in data[12:]]
        result = run_baselines(half, [s for s, _ in data[12:]])
        assert (right(result["logistic_mean"], truth) > 0.9) == solvable
        assert right(result["majority"], truth) == 0.5


def right(answer, truth: list[str]) -> float:
    return sum(a == b for a, b in zip(answer.predicted, truth, strict=True)) / len(truth)


def tone(i: int, label: str, heard: bool = True) -> tuple[Sample, str]:
    """The sound tells the label, the picture is noise."""
    level = float(label == "b") + 0.01 * (i % 3)
    return sample([float(i % 2), 0.3], [level, level], heard=heard), label


def labelled(pairs) -> LabelledClips:
    return LabelledClips([s for s, _ in pairs], [y for _, y in pairs])


def test_each_modality_has_its_own_line_where_there_are_two() -> None:
    data = labelled([tone(i, "ab"[i // 2 % 2]) for i in range(24)])
    found = run_baselines(data, data.samples)
    assert right(found["logistic_sound_mean"], data.labels) == 1
    assert right(found["logistic_picture_mean"], data.labels) < 0.8
    one = LabelledClips(
        [s.with_modalities(picture=True, sound=False) for s in data.samples], data.labels
    )
    assert "logistic_picture_mean" not in run_baselines(one, one.samples)


def test_presence_tells_the_label_only_where_it_does() -> None:
    silent = labelled([tone(i, "ab"[i % 2], heard=bool(i % 2)) for i in range(24)])
    assert right(run_baselines(silent, silent.samples)["presence"], silent.labels) == 1
    same = labelled([tone(i, "ab"[i % 2]) for i in range(24)])
    found = run_baselines(same, same.samples)
    assert right(found["presence"], same.labels) == right(found["majority"], same.labels) == 0.5


def test_fewer_clips_than_features_give_the_same_answer_without_the_rotation(monkeypatch) -> None:
    from pipeline.metrics import baselines

    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 80)) + np.repeat([[0.0], [0.7]], 15, axis=0)
    labels = ["a"] * 15 + ["b"] * 15
    rotated = baselines._Standardised(features, labels).fit(0.1).predict_proba(features)
    monkeypatch.setattr(baselines, "PCA", lambda **_: "passthrough")
    plain = baselines._Standardised(features, labels).fit(0.1).predict_proba(features)
    assert np.allclose(rotated, plain, atol=1e-3)


def test_one_label_or_nothing_to_see_is_no_crash() -> None:
    same = labelled([tone(i, "a") for i in range(6)])
    other = labelled([tone(i, "b") for i in range(6)])
    found = run_baselines(same, other.samples)
    assert set(found["logistic_mean"].predicted) == {"a"}
    deaf = [s.with_modalities(picture=False, sound=False) for s in same.samples]
    assert set(run_baselines(LabelledClips(deaf, same.labels), other.samples)) == {
        "majority", "presence",
    }  # fmt: skip


def noisy(n: int, n_features: int, seed: int, strength: float) -> LabelledClips:
    """Clips whose many features say little each; groups of four that share an offset."""
    rng = np.random.default_rng(seed)
    way = rng.normal(size=n_features) / n_features**0.5
    samples, labels, groups = [], [], []
    for k in range(n):
        label = k // 4 % 2
        values = rng.normal(size=n_features) + strength * (label - 0.5) * way
        values += np.random.default_rng((seed, k // 4)).normal(size=n_features)
        seen, heard = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
        samples.append(Sample(torch.tensor(values)[None].half(), torch.zeros(1, 1), seen, heard))
        labels.append("ab"[label])
        groups.append(str(k // 4))
    return LabelledClips(samples, labels, groups)


def test_the_strength_is_chosen_by_log_loss_in_grouped_folds() -> None:
    """Where each feature says little, strong regularisation is best, as on hidden sets."""
    known = noisy(120, 300, 0, 3.0)
    found = run_baselines(known, known.samples)["logistic_mean"]
    assert found.regularisation_c is not None
    assert found.regularisation_c <= 0.01
    easy = noisy(160, 4, 1, 60.0)
    assert (run_baselines(easy, easy.samples)["logistic_mean"].regularisation_c or 0) >= 0.1


def test_the_usual_regression_is_scikit_learns_own() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known, test = noisy(80, 10, 2, 8.0), noisy(40, 10, 3, 8.0)
    found = run_baselines(known, test.samples)["logistic_default"]
    matrices = [np.array([s.video.double().numpy()[0] for s in part.samples])
                for part in (known, test)]  # fmt: skip
    scaler = StandardScaler().fit(matrices[0])
    own = LogisticRegression(max_iter=300).fit(scaler.transform(matrices[0]), known.labels)
    assert found.predicted == own.predict(scaler.transform(matrices[1])).tolist()


def test_a_classifier_of_whole_segments_labels_steps_by_their_windows() -> None:
    """In the class "moving" the picture goes up and down, around the value of "still"."""

    def timeline(first: int) -> tuple[Sample, np.ndarray]:
        truth = np.repeat([(first + k) % 2 for k in range(4)], 10)
        values = [float(kind * (-1) ** step) for step, kind in enumerate(truth)]
        return sample(values, [0.0] * 40), truth

    known = [timeline(k % 2) for k in range(6)]
    test, truth = timeline(0)
    found = run_step_baselines(
        [s for s, _ in known], [t for _, t in known], [test], ["still", "moving"], 1.0
    )
    names = [["still", "moving"][k] for k in truth]

    def accuracy(name: str) -> float:
        return float(np.mean(np.array(found[name].predicted[0].split("\n")) == names))

    assert accuracy("logistic_step") < 0.8  # a line cannot separate −1 and 1 from 0
    assert accuracy("logistic_clips") > 0.85
    unknown = [np.full(40, UNKNOWN)] + [np.zeros(40, int)] * 5
    one_class = run_step_baselines([s for s, _ in known], unknown, [test], ["still"], 1.0)
    assert set(one_class) == {"majority"}
