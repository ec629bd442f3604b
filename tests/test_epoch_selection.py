from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models.output import ALL_MODALITIES, ClassifierOutput, FusionWeights
from pipeline.training.epoch_selection import CrossFitted, split_in_halves

N_EPOCHS = 40


def answers_of(logits: Tensor) -> ClassifierOutput:
    return ClassifierOutput(logits, {}, {})


def by_loss(answers: ClassifierOutput, targets: Tensor) -> tuple[FusionWeights, float]:
    return {ALL_MODALITIES: {"joint": 1.0}}, -float(
        nn.functional.cross_entropy(answers.fused, targets)
    )


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=60))
def test_labels_are_in_both_halves_and_groups_whole_where_they_can_be(
    clips: list[tuple[str, str]],
) -> None:
    second = split_in_halves([group for group, _ in clips], [[label] for _, label in clips])
    assert second.dtype == torch.bool
    halves: dict[str, set[bool]] = {}
    for (_, label), half in zip(clips, second.tolist(), strict=True):
        halves.setdefault(label, set()).add(half)
    counts = Counter(label for _, label in clips)
    assert all(len(halves[label]) == 2 for label in counts if counts[label] > 1)


@given(st.integers(1, 12), st.integers(1, 12), st.permutations(range(8)))
def test_whole_groups_of_one_label_are_dealt_out_evenly(few: int, many: int, order) -> None:
    """The first four groups are of one label, the others of another; named in any order."""
    sizes = [few, few, many, many] * 2
    names = {k: f"g{place}" for k, place in enumerate(order)}
    clips = [(names[k], "xy"[k // 4]) for k in range(8) for _ in range(sizes[k])]
    second = split_in_halves([group for group, _ in clips], [[label] for _, label in clips])
    for label in "xy":
        of_label = [bool(second[k]) for k, clip in enumerate(clips) if clip[1] == label]
        assert sum(of_label) * 2 == len(of_label)
    for name in names.values():
        assert len({bool(second[k]) for k, clip in enumerate(clips) if clip[0] == name}) == 1


def test_labels_that_are_one_group_each_are_divided() -> None:
    labels = ["x"] * 5 + ["y"] * 4
    second = split_in_halves(labels, [[label] for label in labels])
    assert second[:5].tolist() in ([False, True] * 2 + [False], [True, False] * 2 + [True])
    assert int(second[5:].sum()) == 2


def chance(seed: int, n_clips: int = 20) -> tuple[float, float]:
    """(accuracy of the luckiest epoch, the cross-fitted one) of networks that know nothing."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (n_clips,), generator=generator)
    fitted = CrossFitted(torch.arange(n_clips) % 2 == 1, epochs_compete=True)
    best, luckiest = -99.0, 0.0
    for _ in range(N_EPOCHS):
        answers = answers_of(torch.randn(n_clips, 2, generator=generator))
        fitted.update(answers, targets, by_loss)
        worth = by_loss(answers, targets)[1]
        if worth > best:
            best = worth
            luckiest = float((answers.fused.argmax(1) == targets).double().mean())
    return luckiest, fitted.scores(targets)[0]


def test_choosing_the_luckiest_epoch_is_not_rewarded() -> None:
    found = torch.tensor([chance(seed) for seed in range(60)]).mean(dim=0)
    assert float(found[0]) > 0.6  # what would be said otherwise
    assert float(found[1]) == pytest.approx(0.5, abs=0.05)  # 60 times 20 clips: 0.014


def test_an_epoch_that_is_better_on_all_clips_is_the_one_that_counts() -> None:
    targets = torch.arange(12) % 3
    right = nn.functional.one_hot(targets, 3).float() * 3
    fitted = CrossFitted(torch.arange(12) < 6, epochs_compete=True)
    for logits in (right.roll(1, 1), right, right * 0):
        fitted.update(answers_of(logits), targets, by_loss)
    assert fitted.scores(targets) == (1.0, 1.0)


def test_without_a_choice_of_epochs_the_last_one_counts() -> None:
    targets = torch.arange(12) % 3
    right = nn.functional.one_hot(targets, 3).float() * 3
    fitted = CrossFitted(torch.arange(12) < 6, epochs_compete=False)
    for logits in (right, right.roll(1, 1)):
        fitted.update(answers_of(logits), targets, by_loss)
    assert fitted.scores(targets) == (0.0, 0.0)


def test_answers_are_chosen_by_the_other_half_too() -> None:
    """Each half would choose the answer that is wrong for the other one."""
    targets = torch.zeros(4, dtype=torch.int64)
    second = torch.tensor([False, False, True, True])
    right, wrong = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    joint = torch.stack([right, right, wrong, wrong])
    own = torch.stack([wrong, wrong, right, right])
    answers = ClassifierOutput(joint, {"sound": own}, {"sound": torch.ones(4, dtype=torch.bool)})

    def better(given: ClassifierOutput, labels: Tensor) -> tuple[FusionWeights, float]:
        hits = [
            float((x.argmax(1) == labels).sum()) for x in (given.fused, given.unimodal["sound"])
        ]
        name = "joint" if hits[0] > hits[1] else "sound"
        return {
            ALL_MODALITIES: {"joint": float(name == "joint"), "sound": float(name == "sound")}
        }, max(hits)

    fitted = CrossFitted(second, epochs_compete=True)
    fitted.update(answers, targets, better)
    assert fitted.scores(targets)[0] == 0.0


def test_a_single_clip_is_judged_by_its_own_choice() -> None:
    fitted = CrossFitted(torch.tensor([False]), epochs_compete=True)
    fitted.update(answers_of(torch.tensor([[0.0, 1.0]])), torch.tensor([1]), by_loss)
    assert fitted.scores(torch.tensor([1]))[0] == 1.0


def test_continued_it_is_as_if_undisturbed() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (9,), generator=generator)
    epochs = [answers_of(torch.randn(9, 3, generator=generator)) for _ in range(8)]
    whole = CrossFitted(torch.arange(9) < 4, epochs_compete=True)
    parts = CrossFitted(torch.arange(9) < 4, epochs_compete=True)
    for number, answers in enumerate(epochs):
        if number == 4:
            state = parts.state_dict()
            parts = CrossFitted(torch.arange(9) < 4, epochs_compete=True)
            parts.load_state_dict(state)
        whole.update(answers, targets, by_loss)
        parts.update(answers, targets, by_loss)
    assert parts.state_dict()["best"] == whole.state_dict()["best"]
    assert parts.scores(targets) == whole.scores(targets)
