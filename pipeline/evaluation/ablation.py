"""Modality ablation: accuracy on the same clips with picture only, sound only, and both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.manifest import ManifestRow
from pipeline.errors import UserError
from pipeline.evaluation.evaluation_files import read_evaluation
from pipeline.evaluation.training_overlap import OTHER_DATA
from pipeline.inference.classifier import Classifier
from pipeline.metrics.classification import accuracy_with_interval, paired_difference
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.reporter import ProgressReporter
from pipeline.storage.run_record import read_run_record
from pipeline.tasks.base import Task

UnimodalPredictions = Mapping[str, Mapping[str, str]]
"""modality → {key of a clip that has both: label predicted from that modality alone}."""


def predict_unimodal(
    classifier: Classifier, clips: Sequence[EvaluatedClip], progress: ProgressReporter
) -> dict[str, dict[str, str]]:
    """Predictions for the clips with picture and sound, with one of the two masked.

    Empty for a model that uses a single modality.
    """
    if not (classifier.card.uses_video and classifier.card.uses_audio):
        return {}
    from pipeline.inference.predictor import predict  # imports torch

    predictions: dict[str, dict[str, str]] = {"picture": {}, "sound": {}}
    progress.start("classifying clips by one modality alone", len(clips))
    for clip in clips:
        sample = clip.sample
        if sample is not None and sample.video_mask.any() and sample.audio_mask.any():
            for modality, of_modality in predictions.items():
                masked = sample.with_modalities(modality == "picture", modality == "sound")
                rows = predict(classifier.model, masked)
                decision = classifier.task.decision(
                    rows.probabilities, classifier.labels, rows.classes
                )
                of_modality[clip_key(clip)] = decision
        progress.advance(1)
    progress.finish()
    return predictions


def row_key(row: ManifestRow) -> str:
    """Identifies a clip, or a part of one, within an evaluation."""
    ends = ("" if end_s is None else str(end_s) for end_s in (row.start_s, row.end_s))
    return "\0".join((row.path, *ends))  # NUL cannot be part of a path


def clip_key(clip: EvaluatedClip) -> str:
    """`row_key` of a clip's row."""
    return row_key(clip.row)


def masked_scores(
    alone: UnimodalPredictions, clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]
) -> dict[str, Any] | None:
    """Accuracies with both and with one masked, and what the other one adds, for metrics.json.

    None if no clip has predictions from each modality alone.
    """
    keys = (
        set.intersection(*(set(of_modality) for of_modality in alone.values())) if alone else set()
    )
    both = [clip for clip in clips if clip_key(clip) in keys]
    if not both:
        return None
    groups = [clip.row.group_or_path for clip in both]
    right = {"both": _scores(both, task, labels)}
    for modality, of_modality in alone.items():
        right[modality] = [task.decision_score(c.row, of_modality[clip_key(c)]) for c in both]
    scores: dict[str, Any] = {"n": len(both), "n_groups": len(set(groups))}
    for name, hits in right.items():
        accuracy, interval = accuracy_with_interval(hits, groups)
        scores[name] = {"accuracy": accuracy, "interval": interval}
    for modality, other in (("picture", "sound"), ("sound", "picture")):
        added = paired_difference(right["both"], right[other], groups)  # paired: the same clips
        scores[f"{modality}_adds"] = added.model_dump()
    return scores


def single_modality_runs(
    run: Path, clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Evaluated runs in the same folder, on the same data but with other modalities.

    Each with its accuracy on these clips, and the difference of this run's accuracy from it.
    """
    record = read_run_record(run)
    if record is None:
        return []
    mine = record.card.get("model", {}).get("modalities")
    runs = []
    for other in sorted(path for path in run.resolve().parent.iterdir() if path.is_dir()):
        theirs = _record_or_none(other)
        if theirs is None or other == run.resolve() or theirs.data_digest != record.data_digest:
            continue
        modalities = theirs.card.get("model", {}).get("modalities")
        # out-of-fold predictions are not comparable with those on a test split
        if modalities == mine or (theirs.crossval is None) != (record.crossval is None):
            continue
        predictions = _stored_predictions(other)
        if {clip_key(clip) for clip in clips} <= set(predictions):
            runs.append(
                {
                    "run": other.name,
                    "modalities": modalities,
                    **_compared_with(clips, predictions, task, labels),
                }
            )
    return runs


def _record_or_none(run: Path) -> Any:
    try:
        return read_run_record(run)
    except UserError:  # a damaged run next to this one must not stop the evaluation
        return None


def _stored_predictions(run: Path) -> dict[str, str]:
    """{clip key: predicted label} of a run's evaluation; empty if there is none on its own data."""
    try:
        evaluation = read_evaluation(run)
    except UserError:  # as above
        return {}
    if evaluation.metrics["evaluated_on"] == OTHER_DATA:
        return {}
    return {
        "\0".join(key): each.predicted for key, each in evaluation.clips.items() if each.predicted
    }


def _compared_with(
    clips: Sequence[EvaluatedClip],
    predictions: Mapping[str, str],
    task: Task,
    labels: Sequence[str],
) -> dict[str, Any]:
    groups = [clip.row.group_or_path for clip in clips]
    right = _scores(clips, task, labels)
    theirs = [task.decision_score(clip.row, predictions[clip_key(clip)]) for clip in clips]
    accuracy, interval = accuracy_with_interval(theirs, groups)
    return {
        "accuracy": accuracy,
        "interval": interval,
        "difference": paired_difference(right, theirs, groups).model_dump(),
    }


def _scores(clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]) -> list[float]:
    """Share of each clip's decision that is correct."""
    scores = []
    for clip in clips:
        prediction = clip.prediction
        assert prediction.probabilities is not None
        decision = task.decision(prediction.probabilities, labels, prediction.classes)
        scores.append(task.decision_score(clip.row, decision))
    return scores
