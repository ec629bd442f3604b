"""What the folds' own clips decide: after how many epochs a network is best, which of its answers
count, how sure to be of them. For each fold it is decided on the clips of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.clip import BoolArray
from models.answers import ALL, Answers
from pipeline.crossvalidation.division import Division
from pipeline.crossvalidation.fold_file import FoldFile
from pipeline.crossvalidation.networks import Network
from pipeline.records.predictions import Probabilities
from pipeline.training.judging import Answered, Judgement, Said


@dataclass(frozen=True)
class Choice:
    """How networks are trained, and how their answers become one."""

    epoch: int
    judgement: Judgement


@dataclass(frozen=True)
class Course:
    """What networks say of clips that they were not trained on, as their training goes on.

    after: epochs trained → what the networks of each seed say then. learnable bool [N]: whether a
    clip's label was among those its networks were trained on; where it was not, they are the more
    wrong the longer they train, which says nothing about other clips.
    """

    after: Mapping[int, Answered]
    learnable: Tensor

    def rows(self, index: Tensor) -> Course:
        """Some of the clips: bool [N]."""
        after = {epoch: answered.rows(index) for epoch, answered in self.after.items()}
        return Course(after, self.learnable[index])

    def seeds(self, chosen: Sequence[int]) -> Course:
        """Some of the seeds."""
        after = {
            epoch: Answered([answered.said[seed] for seed in chosen], answered.targets)
            for epoch, answered in self.after.items()
        }
        return Course(after, self.learnable)

    @property
    def modalities(self) -> list[str]:
        """Those of which a clip can be shown one alone; none where there is but one."""
        return [name for name in self._first.said[0] if name != ALL]

    def shown(self, modality: str) -> tuple[Course, BoolArray]:
        """(what is said of the same clips when they are shown with one modality alone, bool [N]:
        which of them have both)."""
        after = {
            epoch: Answered(
                [{**one, ALL: one[modality]} for one in answered.said], answered.targets
            )
            for epoch, answered in self.after.items()
        }
        there = np.logical_and.reduce([p.numpy() for p in self._first.answers[0].present.values()])
        return Course(after, self.learnable), there

    @property
    def _first(self) -> Answered:
        return next(iter(self.after.values()))

    def choice(self) -> Choice:
        """The epoch, and its answers and temperature, under which the labels are most likely."""
        some = self.learnable if bool(self.learnable.any()) else torch.ones_like(self.learnable)
        after = {epoch: answered.rows(some) for epoch, answered in self.after.items()}
        choices = [Choice(epoch, answered.judgement()) for epoch, answered in sorted(after.items())]
        return min(choices, key=lambda choice: after[choice.epoch].loss(choice.judgement))

    def probabilities(self, choice: Choice) -> Probabilities:
        """float64 [N, K], by a choice that other clips gave."""
        chances = self.after[choice.epoch].probabilities(choice.judgement)
        return np.asarray(chances.numpy(), dtype=np.float64)


def course_of(
    division: Division, trained: Mapping[Network, Mapping[int, FoldFile]], targets: Tensor
) -> Course:
    """All clips, each as the networks say that were trained without its fold. targets int64 [N]."""
    seeds = sorted({network.seed for network in trained})
    epochs = sorted(next(iter(trained.values())))
    labels_of = {fold: {i.row.label for i in division.outside(fold)} for fold in division.folds}
    learnable = torch.tensor([
        item.row.label in labels_of[division.fold_of[item.row.id]] for item in division.items
    ])  # fmt: skip
    after = {
        epoch: Answered([_joined(division, trained, seed, epoch) for seed in seeds], targets)
        for epoch in epochs
    }
    return Course(after, learnable)


def out_of_fold(course: Course, division: Division) -> Probabilities:
    """float64 [N, K]: each fold's clips judged as the other folds' clips would have it."""
    fold_of = np.array([division.fold_of[item.row.id] for item in division.items])
    chances = np.zeros(tuple(next(iter(course.after.values())).answers[0].joint.shape))
    for fold in division.folds:
        inside = torch.from_numpy(fold_of == fold)
        choice = course.rows(~inside).choice()
        chances[fold_of == fold] = course.rows(inside).probabilities(choice)
    return chances


def _joined(
    division: Division,
    trained: Mapping[Network, Mapping[int, FoldFile]],
    seed: int,
    epoch: int,
) -> Said:
    """What one seed's networks say after an epoch, in the order of the division's clips."""
    folds = [after[epoch] for network, after in trained.items() if network.seed == seed]
    place = {key: k for k, key in enumerate(key for fold in folds for key in fold.ids)}
    index = torch.tensor([place[item.row.id] for item in division.items])
    return {
        situation: Answers.joined([fold.said[situation] for fold in folds]).rows(index)
        for situation in folds[0].said
    }
