"""What each modality is worth: the same clips judged by picture alone, by sound alone, by both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
"""modality → {key of a clip that has both: the label named when it is shown with that alone}."""


def predict_unimodal(
    classifier: Classifier, clips: Sequence[EvaluatedClip], progress: ProgressReporter
) -> dict[str, dict[str, str]]:
    """The model's answers to clips that have picture and sound, with the other one masked.

    Empty for a model that knows one modality alone.
    """
    if not (classifier.card.uses_video and classifier.card.uses_audio):
        return {}
    from pipeline.inference.predictor import predict

    said: dict[str, dict[str, str]] = {"picture": {}, "sound": {}}
    progress.start("judging clips by one modality alone", len(clips))
    for clip in clips:
        sample = clip.sample
        if sample is not None and sample.video_mask.any() and sample.audio_mask.any():
            for modality, answers in said.items():
                shown = sample.with_modalities(modality == "picture", modality == "sound")
                probabilities = predict(classifier.model, shown)
                decision = classifier.task.decision(probabilities, classifier.labels)
                answers[clip_key(clip)] = decision
        progress.advance(1)
    progress.finish()
    return said


def row_key(row: ManifestRow) -> str:
    """Names a clip in any table of its evaluation."""
    ends = ("" if end_s is None else str(end_s) for end_s in (row.start_s, row.end_s))
    return "\0".join((row.path, *ends))


def clip_key(clip: EvaluatedClip) -> str:
    """`row_key` of a clip's row."""
    return row_key(clip.row)


def masked_scores(
    alone: UnimodalPredictions, clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]
) -> dict[str, Any] | None:
    """For metrics.json: accuracies with both and with one masked, and what the other one adds.

    None where no clip was shown so.
    """
    known = set.intersection(*(set(answers) for answers in alone.values())) if alone else set()
    both = [clip for clip in clips if clip_key(clip) in known]
    if not both:
        return None
    groups = [clip.row.group_or_path for clip in both]
    right = {"both": _scores(both, task, labels)}
    for modality, answers in alone.items():
        right[modality] = [task.decision_score(c.row, answers[clip_key(c)]) for c in both]
    found: dict[str, Any] = {"n": len(both), "n_groups": len(set(groups))}
    for name, hits in right.items():
        accuracy, interval = accuracy_with_interval(hits, groups)
        found[name] = {"accuracy": accuracy, "interval": interval}
    for modality, other in (("picture", "sound"), ("sound", "picture")):
        added = paired_difference(right["both"], right[other], groups)
        found[f"{modality}_adds"] = asdict(added)
    return found


def single_modality_runs(
    run: Path, clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Runs beside this one, of the same data but other modalities, that were evaluated: their
    accuracy on the same clips, and this run's minus theirs."""
    record = read_run_record(run)
    if record is None:
        return []
    mine = record.card.get("model", {}).get("modalities")
    found = []
    for other in sorted(path for path in run.resolve().parent.iterdir() if path.is_dir()):
        theirs = _record_or_none(other)
        if theirs is None or other == run.resolve() or theirs.data_digest != record.data_digest:
            continue
        modalities = theirs.card.get("model", {}).get("modalities")
        if modalities == mine or (theirs.crossval is None) != (record.crossval is None):
            continue
        said = _evaluated(other)
        if {clip_key(clip) for clip in clips} <= set(said):
            found.append(
                {"run": other.name, "modalities": modalities, **_beside(clips, said, task, labels)}
            )
    return found


def _record_or_none(run: Path) -> Any:
    try:
        return read_run_record(run)
    except UserError:  # somebody's damaged run says nothing about this one
        return None


def _evaluated(run: Path) -> dict[str, str]:
    """{clip key: predicted label} of a run's own evaluation; empty where there is none to use."""
    try:
        kept = read_evaluation(run)
    except UserError:  # as above
        return {}
    if kept.metrics["evaluated_on"] == OTHER_DATA:
        return {}
    return {"\0".join(key): each.predicted for key, each in kept.clips.items() if each.predicted}


def _beside(
    clips: Sequence[EvaluatedClip], said: Mapping[str, str], task: Task, labels: Sequence[str]
) -> dict[str, Any]:
    groups = [clip.row.group_or_path for clip in clips]
    right = _scores(clips, task, labels)
    theirs = [task.decision_score(clip.row, said[clip_key(clip)]) for clip in clips]
    accuracy, interval = accuracy_with_interval(theirs, groups)
    return {
        "accuracy": accuracy,
        "interval": interval,
        "difference": asdict(paired_difference(right, theirs, groups)),
    }


def _scores(clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str]) -> list[float]:
    """How much of each clip's decision is correct."""
    scores = []
    for clip in clips:
        assert clip.prediction.probabilities is not None
        decision = task.decision(clip.prediction.probabilities, labels)
        scores.append(task.decision_score(clip.row, decision))
    return scores
