"""Baselines fitted on the clips that a run was trained on, and judged by the same clips as it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.classifying.classify import Classifier
from pipeline.encoding.samples import Sample
from pipeline.evaluating.baselines import Labelled, run_baselines
from pipeline.evaluating.clips import EvaluatedClip, baseline_front_end
from pipeline.evaluating.scoring import baseline_scores
from pipeline.training.training_data import PreparedData


def fitted_baselines(
    classifier: Classifier,
    prepared: PreparedData,
    on_all: bool,
    judged: Sequence[EvaluatedClip],
) -> dict[str, Any]:
    """Baselines see what the model may see: one modality's model is compared on that alone.

    They are fitted on the clips of training and validation; on_all: on the test split too, as the
    model of a crossval is.
    """
    front_end = baseline_front_end(classifier.card, prepared)
    items = prepared.samples(["train", "val", *(["test"] if on_all else [])], front_end)
    known = Labelled(
        [_restricted(classifier, item.sample) for item in items],
        [item.row.label for item in items],
        [item.row.group_or_path for item in items],
    )
    test = [_restricted(classifier, clip.plain) for clip in judged if clip.plain is not None]
    labels = classifier.labels
    return baseline_scores(
        run_baselines(known, test),
        [clip.row.label for clip in judged],
        [clip.prediction.predicted(labels) for clip in judged],
        [clip.row.group_or_path for clip in judged],
        labels,
    )


def _restricted(classifier: Classifier, sample: Sample) -> Sample:
    net = classifier.model.classifier
    return sample.restricted(net.uses_picture, net.uses_sound)
