"""The baselines on the same folds: what simple methods say of clips of folds they did not see."""

from __future__ import annotations

from data_prep.dataset.splits import SPLITS
from pipeline.checkpoints.card import ModelCard
from pipeline.crossvalidation.division import Division
from pipeline.encoding.samples import Sample
from pipeline.evaluating.baselines import BaselineAnswer, Labelled, run_baselines
from pipeline.evaluating.clips import baseline_front_end
from pipeline.reporting import Reporter
from pipeline.training.training_data import LabelledSample, PreparedData


def fold_baselines(
    data: PreparedData, card: ModelCard, division: Division, report: Reporter
) -> dict[str, BaselineAnswer]:
    """{baseline: its labels for all clips of the division, in their order}.

    The strength of regularisation is chosen inside the folds that are fitted on.
    """
    samples = _plain(data, card, division)
    answers: dict[str, dict[str, str]] = {}
    folds = division.folds
    report.start("fitting the baselines of folds", len(folds))
    for fold in folds:
        test = division.inside(fold)
        known = _labelled(division.outside(fold), samples)
        found = run_baselines(known, _labelled(test, samples).samples)
        for name, answer in found.items():
            of_clip = zip(test, answer.predicted, strict=True)
            answers.setdefault(name, {}).update({item.row.id: label for item, label in of_clip})
        report.advance()
    report.finish()
    return {
        name: BaselineAnswer([labels[item.row.id] for item in division.items])
        for name, labels in answers.items()
        if len(labels) == len(division.items)
    }


def _plain(data: PreparedData, card: ModelCard, division: Division) -> dict[str, Sample]:
    """{clip id: what a baseline is given of it}: no more than the model is."""
    items = division.items
    if card.model.audio_front_end == "waveform":
        items = data.samples(SPLITS, baseline_front_end(card, data))
    return {
        item.row.id: item.sample.restricted(card.uses_picture, card.uses_sound) for item in items
    }


def _labelled(items: list[LabelledSample], samples: dict[str, Sample]) -> Labelled:
    return Labelled(
        [samples[item.row.id] for item in items],
        [item.row.label for item in items],
        [item.row.group_or_path for item in items],
    )
