import torch

from pipeline.encoding.samples import Sample
from pipeline.evaluating.baselines import describe, run_baselines


def sample(picture: list[float], sound: list[float], seen: bool = True, heard: bool = True):
    steps = len(picture)
    return Sample(
        torch.tensor(picture)[:, None].half(), torch.tensor(sound)[:, None],
        torch.full((steps,), seen), torch.full((steps,), heard),
    )  # fmt: skip


def test_described_by_mean_and_deviation() -> None:
    row = describe([sample([1.0, 3.0], [2.0, 2.0])], deviation=True)[0]
    assert row.tolist() == [2.0, 1.0, 2.0, 0.0]


def test_missing_modality_is_no_zero() -> None:
    row = describe([sample([1.0, 3.0], [2.0, 2.0], heard=False)], deviation=False)[0]
    assert row[0] == 2.0
    assert row[1] != row[1]  # NaN, filled with the training mean and flagged later


def test_averages_find_level_but_not_order() -> None:
    def level(i: int, value: float) -> Sample:
        return sample([value, value + 0.01 * (i % 3)], [0.0, 0.0])

    def order(i: int, up: bool) -> Sample:
        low, high = 0.01 * (i % 3), 1.0
        return sample([low, high] if up else [high, low], [0.0, 0.0])

    for make, solvable in ((level, True), (order, False)):
        data = [(make(i, bool(i % 2)), "ab"[i % 2]) for i in range(24)]
        half = ([s for s, _ in data[:12]], [y for _, y in data[:12]])
        rest = ([s for s, _ in data[12:]], [y for _, y in data[12:]])
        result = run_baselines(half, half, rest, ["a", "b"])
        assert (result["logistic_mean"]["accuracy"] > 0.9) == solvable
        assert result["majority"]["accuracy"] == 0.5
