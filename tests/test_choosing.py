"""What folds decide for each other."""

import torch
from torch import Tensor

from data_prep.dataset.manifest import ManifestRow
from data_prep.status import Status
from models.answers import ALL, Answers
from pipeline.crossvalidation.choosing import Course, out_of_fold
from pipeline.crossvalidation.division import Division
from pipeline.encoding.samples import Sample
from pipeline.training.judging import Answered
from pipeline.training.training_data import LabelledSample

TARGETS = torch.tensor([0, 1] * 20)


def said(right: Tensor, sure: float = 3.0) -> Answers:
    """Joint answers that name the target where `right` [N], else the other label."""
    named = torch.where(right, TARGETS, 1 - TARGETS)
    return Answers(sure * torch.nn.functional.one_hot(named, 2).float(), {}, {})


def right_in(share: float) -> Tensor:
    """The first clips wrongly named."""
    return torch.arange(len(TARGETS)) >= round((1 - share) * len(TARGETS))


def course(shares: dict[int, list[float]]) -> Course:
    after = {
        epoch: Answered([{ALL: said(right_in(share))} for share in of_seeds], TARGETS)
        for epoch, of_seeds in shares.items()
    }
    return Course(after, torch.ones(len(TARGETS), dtype=torch.bool))


def test_the_epoch_under_which_the_labels_are_most_likely_is_chosen() -> None:
    found = course({4: [0.7, 0.7], 8: [0.9, 0.95], 30: [0.8, 0.8]})
    assert found.choice().epoch == 8


def test_of_equals_the_shorter_training_is_chosen() -> None:
    assert course({4: [0.9], 8: [0.9]}).choice().epoch == 4


def test_each_seed_can_be_asked_alone() -> None:
    found = course({4: [0.6, 0.9], 8: [0.8, 0.5]})
    assert found.seeds([0]).choice().epoch == 8
    assert found.seeds([1]).choice().epoch == 4


def test_a_fold_has_no_say_in_how_its_own_clips_are_judged() -> None:
    # Epoch 4 is best on the first fold's clips and epoch 8 on the second's: each is judged as the
    # other one would have it.
    first = torch.arange(len(TARGETS)) < 20
    after = {
        4: Answered([{ALL: said(first)}], TARGETS),
        8: Answered([{ALL: said(~first)}], TARGETS),
    }
    later = Course(after, torch.ones(len(TARGETS), dtype=torch.bool))
    sample = Sample(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=bool),
                    torch.zeros(1, dtype=bool))  # fmt: skip
    items = [
        LabelledSample(ManifestRow(path=f"{k}", id=f"{k}", label="", status=Status.OK), sample)
        for k in range(len(TARGETS))
    ]
    division = Division(items, {f"{k}": "ab"[k // 20] for k in range(len(TARGETS))})
    named = torch.from_numpy(out_of_fold(later, division)).argmax(dim=1)
    assert (named != TARGETS).all()


def test_clips_of_labels_that_their_networks_never_saw_do_not_choose() -> None:
    # epoch 8 is right about all but the first clips, whose label nobody could have learnt
    numbers = torch.arange(len(TARGETS))
    after = {
        4: Answered([{ALL: said(numbers < 32)}], TARGETS),
        8: Answered([{ALL: said(numbers >= 12)}], TARGETS),
    }
    assert Course(after, numbers >= 0).choice().epoch == 4
    assert Course(after, numbers >= 12).choice().epoch == 8
