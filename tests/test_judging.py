import pytest
import torch

from models.answers import Answers
from pipeline.training.judging import Answered, Judgement

TARGETS = torch.arange(60) % 3


def answer(right: float, seed: int) -> torch.Tensor:
    """Logits that point at the label in a share of clips, elsewhere anywhere."""
    torch.manual_seed(seed)
    logits = torch.randn(60, 3)
    told = torch.rand(60) < right
    logits[told] += 4 * torch.nn.functional.one_hot(TARGETS, 3)[told]
    return logits


def answers(joint: float, picture: float, sound: float, seed: int = 0) -> Answers:
    there = torch.ones(60, dtype=torch.bool)
    return Answers(
        answer(joint, seed),
        {"picture": answer(picture, seed + 1), "sound": answer(sound, seed + 2)},
        {"picture": there, "sound": there},
    )


def test_an_answer_that_knows_nothing_is_left_out() -> None:
    weights = Answered([answers(0.0, 0.95, 0.0)], TARGETS).judgement().weights
    assert weights == {"joint": 0.0, "picture": 1.0, "sound": 0.0}


def test_answers_that_know_different_things_are_averaged() -> None:
    # each points at the label in two thirds of the clips, not in the same ones
    told = torch.nn.functional.one_hot(TARGETS, 3).float()
    part = torch.arange(60) // 3 % 3  # labels repeat every three clips
    each = [torch.where((part != k)[:, None], 2 * told, -2 * told) for k in range(3)]
    there = torch.ones(60, dtype=torch.bool)
    own = {"picture": each[1], "sound": each[2]}
    found = Answered([Answers(each[0], own, {"picture": there, "sound": there})], TARGETS)
    assert found.judgement().weights == {"joint": 1.0, "picture": 1.0, "sound": 1.0}


def test_networks_are_averaged_and_rows_are_taken_from_all_alike() -> None:
    both = Answered([answers(0.5, 0.5, 0.5, 0), answers(0.5, 0.5, 0.5, 9)], TARGETS)
    judgement = Judgement({"joint": 1.0, "picture": 0.0, "sound": 0.0}, 2.0)
    each = torch.stack([one.joint.log_softmax(-1) for one in both.answers]).mean(0)
    expected = (each.double() / 2).softmax(-1)
    assert torch.allclose(both.probabilities(judgement), expected)
    some = TARGETS == 1
    assert torch.allclose(both.rows(some).probabilities(judgement), expected[some])
    assert both.rows(some).targets.tolist() == [1] * 20


def test_scores_are_those_of_the_pooled_answer() -> None:
    one = Answered([answers(1.0, 0.0, 0.0)], TARGETS)
    accuracy, macro_f1 = one.scores({"joint": 1.0, "picture": 0.0, "sound": 0.0})
    predicted = one.answers[0].joint.argmax(1)
    assert accuracy == pytest.approx((predicted == TARGETS).double().mean().item())
    assert 0.9 < macro_f1 <= 1
