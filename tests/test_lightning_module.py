import pytest
import torch
from torch import nn

from models.answers import Answers
from models.classifier import AudioVisualClassifier, Dimensions
from models.settings import ModelSettings
from pipeline.config import TrainSettings
from pipeline.training.lightning_module import ClipTraining, WeightedCrossEntropy, warm_cosine
from pipeline.training.training_data import class_weights

SETTINGS = ModelSettings(modalities="sound", audio_front_end="log_mel")


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


def selection(
    choose_by: str, logits: torch.Tensor, targets: torch.Tensor, weights: tuple[float, ...]
) -> float:
    sizes = Dimensions(4, 64, 10, 16_000, len(weights))
    module = ClipTraining(AudioVisualClassifier(SETTINGS, sizes), None,
                          TrainSettings(choose_by=choose_by), list(weights))  # fmt: skip
    own = {"sound": torch.zeros_like(logits)}
    present = {"sound": torch.ones(len(targets), dtype=torch.bool)}
    module._seen = [(Answers(logits, own, present), targets)]
    module.log_dict = lambda scores: None
    module.on_validation_epoch_end()
    return module._scores["val_selection"]


def test_the_best_epoch_is_not_the_one_that_is_least_sure() -> None:
    """Twice as sure is no better and no worse; telling more clips right from wrong is."""
    targets = torch.arange(40) % 2
    right = nn.functional.one_hot(targets, 2).float() * 2 - 1
    doubtful = right.clone()
    doubtful[:12] *= -0.3
    worse = right.clone()
    worse[:12] *= -1
    by_loss = [selection("loss", x, targets, (1, 1)) for x in (doubtful, 2 * doubtful, worse)]
    assert by_loss[0] == pytest.approx(by_loss[1], abs=0.01)
    assert by_loss[0] > by_loss[2] + 0.05
    by_f1 = [selection("macro_f1", x, targets, (1, 1)) for x in (doubtful, worse, right)]
    assert by_f1[0] == pytest.approx(by_f1[1], abs=2e-3)  # the same labels
    assert by_f1[2] > by_f1[0]


def test_clips_of_a_label_that_no_training_clip_has_do_not_choose() -> None:
    torch.manual_seed(0)
    targets = torch.tensor([0, 1, 0, 1, 2])
    sure = nn.functional.one_hot(targets % 2, 3).float() * 4
    less = sure.clone()
    less[4] = 0
    assert selection("loss", sure, targets, (1, 1, 0)) == selection(
        "loss", less, targets, (1, 1, 0)
    )
    assert selection("loss", sure, targets, (1, 1, 1)) != selection(
        "loss", less, targets, (1, 1, 1)
    )
    alone = selection("loss", sure[4:], targets[4:], (1, 1, 0))  # there is nothing else to go by
    assert alone < 0
