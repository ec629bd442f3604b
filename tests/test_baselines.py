import numpy as np
import torch

from pipeline.encoding.samples import Sample
from pipeline.evaluating.baselines import Labelled, describe, run_baselines


def sample(picture: list[float], sound: list[float], seen: bool = True, heard: bool = True):
    steps = len(picture)
    return Sample(
        torch.tensor(picture)[:, None].half(), torch.tensor(sound)[:, None],
        torch.full((steps,), seen), torch.full((steps,), heard),
    )  # fmt: skip


def test_described_by_mean_and_deviation() -> None:
    parts = describe([sample([1.0, 3.0], [2.0, 2.0])], deviation=True)
    assert parts["picture"].tolist() == [[2.0, 1.0]]
    assert parts["sound"].tolist() == [[2.0, 0.0]]


def test_missing_modality_is_no_zero() -> None:
    parts = describe([sample([1.0, 3.0], [2.0, 2.0], heard=False)], deviation=False)
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
        half = Labelled([s for s, _ in data[:12]], [y for _, y in data[:12]])
        truth = [y for _, y in data[12:]]
        result = run_baselines(half, half, [s for s, _ in data[12:]])
        assert (right(result["logistic_mean"], truth) > 0.9) == solvable
        assert right(result["majority"], truth) == 0.5


def right(answer, truth: list[str]) -> float:
    return sum(a == b for a, b in zip(answer.predicted, truth, strict=True)) / len(truth)


def tone(i: int, label: str, heard: bool = True) -> tuple[Sample, str]:
    """The sound tells the label, the picture is noise."""
    level = float(label == "b") + 0.01 * (i % 3)
    return sample([float(i % 2), 0.3], [level, level], heard=heard), label


def labelled(pairs) -> Labelled:
    return Labelled([s for s, _ in pairs], [y for _, y in pairs])


def test_each_modality_has_its_own_line_where_there_are_two() -> None:
    data = labelled([tone(i, "ab"[i // 2 % 2]) for i in range(24)])
    found = run_baselines(data, data, data.samples)
    assert right(found["logistic_sound_mean"], data.labels) == 1
    assert right(found["logistic_picture_mean"], data.labels) < 0.8
    one = Labelled([s.restricted(picture=True, sound=False) for s in data.samples], data.labels)
    assert "logistic_picture_mean" not in run_baselines(one, one, one.samples)


def test_presence_tells_the_label_only_where_it_does() -> None:
    silent = labelled([tone(i, "ab"[i % 2], heard=bool(i % 2)) for i in range(24)])
    assert right(run_baselines(silent, silent, silent.samples)["presence"], silent.labels) == 1
    same = labelled([tone(i, "ab"[i % 2]) for i in range(24)])
    found = run_baselines(same, same, same.samples)
    assert right(found["presence"], same.labels) == right(found["majority"], same.labels) == 0.5


def test_fewer_clips_than_features_give_the_same_answer_without_the_rotation(monkeypatch) -> None:
    from pipeline.evaluating import baselines

    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 80)) + np.repeat([[0.0], [0.7]], 15, axis=0)
    labels = ["a"] * 15 + ["b"] * 15
    rotated = baselines._fitted(features, labels, 0.1).predict_proba(features)
    monkeypatch.setattr(baselines, "PCA", lambda **_: "passthrough")
    plain = baselines._fitted(features, labels, 0.1).predict_proba(features)
    assert np.allclose(rotated, plain, atol=1e-3)


def test_one_label_or_nothing_to_see_is_no_crash() -> None:
    same = labelled([tone(i, "a") for i in range(6)])
    other = labelled([tone(i, "b") for i in range(6)])
    found = run_baselines(same, other, other.samples)
    assert set(found["logistic_mean"].predicted) == {"a"}
    deaf = [s.restricted(picture=False, sound=False) for s in same.samples]
    assert set(run_baselines(Labelled(deaf, same.labels), other, other.samples)) == {
        "majority", "presence",
    }  # fmt: skip


def test_refitting_uses_the_clips_that_chose() -> None:
    train = labelled([tone(i, "ab"[i % 2]) for i in range(6)])
    val = labelled([tone(i, "c") for i in range(20)])
    assert set(run_baselines(train, val, val.samples, refit=True)["majority"].predicted) == {"c"}
    assert set(run_baselines(train, val, val.samples)["majority"].predicted) <= {"a", "b"}
