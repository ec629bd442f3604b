"""Outputs of folds: their files, the choice of epoch and calibration, postprocessing."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_prep.manifest import ManifestRow
from data_prep.status import Status
from models.output import ALL_MODALITIES, ClassifierOutput
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.crossval.fold_outputs import (
    FoldFile,
    FoldOutputs,
    fold_path,
    out_of_fold,
    read_fold,
    write_fold,
)
from pipeline.features.samples import LabelledSample, Sample
from pipeline.training.calibration import HeldOutOutputs


def test_round_trip_and_damage(tmp_path) -> None:
    said = {
        situation: ClassifierOutput(
            torch.randn(3, 2),
            {"sound": torch.randn(3, 2)},
            {"sound": torch.tensor([True, False, True])},
        )
        for situation in ("all", "sound")
    }
    fold = FoldFile({"a.b": torch.randn(4), "n": torch.tensor(3)}, ["x", "y", "z"], said)
    path = fold_path(tmp_path / "fold-0-seed-0", 4)
    path.parent.mkdir()
    write_fold(path, fold)
    found = read_fold(path)
    assert found.ids == ["x", "y", "z"]
    assert found.state.keys() == fold.state.keys()
    assert all(torch.equal(found.state[name], fold.state[name]) for name in fold.state)
    assert found.outputs.keys() == said.keys()
    for situation, answers in said.items():
        one = found.outputs[situation]
        assert torch.equal(one.fused, answers.fused)
        assert torch.equal(one.unimodal["sound"], answers.unimodal["sound"])
        assert torch.equal(one.present["sound"], answers.present["sound"])
    path.write_bytes(path.read_bytes()[:-5])
    assert read_fold(path) is None
    assert read_fold(tmp_path / "nowhere") is None


def test_a_network_of_all_clips_has_no_answers(tmp_path) -> None:
    path = fold_path(tmp_path, 30)
    write_fold(path, FoldFile({"a": torch.ones(1)}))
    assert not read_fold(path).outputs


TARGETS = torch.tensor([0, 1] * 20)


def said(right: Tensor, sure: float = 3.0) -> ClassifierOutput:
    """Joint answers that name the target where `right` [N], else the other label."""
    named = torch.where(right, TARGETS, 1 - TARGETS)
    return ClassifierOutput(sure * torch.nn.functional.one_hot(named, 2).float(), {}, {})


def right_in(share: float) -> Tensor:
    """The first clips wrongly named."""
    return torch.arange(len(TARGETS)) >= round((1 - share) * len(TARGETS))


def course(shares: dict[int, list[float]]) -> FoldOutputs:
    after = {
        epoch: HeldOutOutputs(
            [{ALL_MODALITIES: said(right_in(share))} for share in of_seeds], TARGETS
        )
        for epoch, of_seeds in shares.items()
    }
    return FoldOutputs(after, torch.ones(len(TARGETS), dtype=torch.bool))


def test_the_epoch_under_which_the_labels_are_most_likely_is_chosen() -> None:
    found = course({4: [0.7, 0.7], 8: [0.9, 0.95], 30: [0.8, 0.8]})
    assert found.select_epoch().epoch == 8


def test_of_equals_the_shorter_training_is_chosen() -> None:
    assert course({4: [0.9], 8: [0.9]}).select_epoch().epoch == 4


def test_each_seed_can_be_asked_alone() -> None:
    found = course({4: [0.6, 0.9], 8: [0.8, 0.5]})
    assert found.select_seeds([0]).select_epoch().epoch == 8
    assert found.select_seeds([1]).select_epoch().epoch == 4


def test_a_fold_has_no_say_in_how_its_own_clips_are_judged() -> None:
    # Epoch 4 is best on the first fold's clips and epoch 8 on the second's: each is judged as the
    # other one would have it.
    first = torch.arange(len(TARGETS)) < 20
    after = {
        4: HeldOutOutputs([{ALL_MODALITIES: said(first)}], TARGETS),
        8: HeldOutOutputs([{ALL_MODALITIES: said(~first)}], TARGETS),
    }
    later = FoldOutputs(after, torch.ones(len(TARGETS), dtype=torch.bool))
    sample = Sample(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=bool),
                    torch.zeros(1, dtype=bool))  # fmt: skip
    items = [
        LabelledSample(ManifestRow(path=f"{k}", id=f"{k}", label="", status=Status.OK), sample)
        for k in range(len(TARGETS))
    ]
    assignment = FoldAssignment(items, {f"{k}": "ab"[k // 20] for k in range(len(TARGETS))})
    named = torch.from_numpy(out_of_fold(later, assignment)).argmax(dim=1)
    assert (named != TARGETS).all()


def test_clips_of_labels_that_their_networks_never_saw_do_not_choose() -> None:
    # epoch 8 is right about all but the first clips, whose label nobody could have learnt
    numbers = torch.arange(len(TARGETS))
    after = {
        4: HeldOutOutputs([{ALL_MODALITIES: said(numbers < 32)}], TARGETS),
        8: HeldOutOutputs([{ALL_MODALITIES: said(numbers >= 12)}], TARGETS),
    }
    assert FoldOutputs(after, numbers >= 0).select_epoch().epoch == 4
    assert FoldOutputs(after, numbers >= 12).select_epoch().epoch == 8


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_a_folds_own_labels_change_nothing_in_its_predictions(seed: int) -> None:
    torch.manual_seed(seed)
    n, none = 30, torch.zeros(1)
    sample = Sample(none, none, none.bool(), none.bool())
    items = [LabelledSample(ManifestRow(str(k), id=str(k)), sample) for k in range(n)]
    assignment = FoldAssignment(items, {str(k): str(k % 3) for k in range(n)})
    there = torch.ones(n, dtype=torch.bool)
    said = {
        epoch: [
            {
                ALL_MODALITIES: ClassifierOutput(
                    torch.randn(n, 4), {"sound": torch.randn(n, 4)}, {"sound": there}
                )
            }
            for _ in range(2)
        ]
        for epoch in (4, 8, 15)
    }
    targets = torch.randint(0, 4, (n,))
    inside = torch.arange(n) % 3 == 1
    other = torch.where(inside, (targets + 1) % 4, targets)
    before, after = (
        out_of_fold(
            FoldOutputs({e: HeldOutOutputs(of_e, t) for e, of_e in said.items()}, there), assignment
        )
        for t in (targets, other)
    )
    assert np.array_equal(before[inside.numpy()], after[inside.numpy()])
    assert not np.array_equal(before, after)
    assert np.allclose(before.sum(axis=1), 1)
