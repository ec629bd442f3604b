import pytest
import torch
from torch import nn

from pipeline.training.lightning_module import WeightedCrossEntropy, warm_cosine
from pipeline.training.training_data import class_weights


def optimum(counts: list[int], smoothing: float = 0.05) -> torch.Tensor:
    """What clips are told whose pictures say nothing but their label: [K labels, K], by descent."""
    labels = [str(k) for k, n in enumerate(counts) for _ in range(n)]
    names = [str(k) for k in range(len(counts))]
    loss = WeightedCrossEntropy(class_weights(labels, names), smoothing)
    targets = nn.functional.one_hot(torch.tensor([int(y) for y in labels]), len(counts)).float()
    table = torch.zeros(len(counts), len(counts), requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss(table[targets.argmax(1)], targets).backward()
        optimizer.step()
    return table.detach().softmax(1)


@pytest.mark.parametrize("counts", [[40, 0], [60, 60, 0], [400, 10], [300, 198, 2]])
def test_rare_and_absent_labels_are_not_named_for_others(counts: list[int]) -> None:
    told = optimum(counts)
    for k, n in enumerate(counts):
        if n:
            assert told[k, k] > 0.9
        else:
            assert told[torch.tensor(counts) > 0, k].max() < 0.01


def test_every_label_counts_alike_and_equal_ones_as_in_torch() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 2)
    targets = nn.functional.one_hot(torch.tensor([0, 1] * 4), 2).float()
    ours = WeightedCrossEntropy([1.0, 1.0], 0.1)(logits, targets)
    assert torch.allclose(ours, nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets))
    uneven = nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 2).float()
    weights = class_weights(list("aaab"), ["a", "b"])
    each = nn.functional.cross_entropy(logits[:4], uneven, reduction="none")
    found = WeightedCrossEntropy(weights, 0.0)(logits[:4], uneven)
    assert torch.allclose(found, (each[:3].mean() + each[3]) / 2)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [warm_cosine(step, 100) for step in range(101)]
    assert rates.index(max(rates)) == 4
    assert rates[100] == pytest.approx(0)
    assert rates[5:] == sorted(rates[5:], reverse=True)
