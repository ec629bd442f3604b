"""Predictions for the labelled clips that a run is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.annotations.listing import list_data_set
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.dataset.groups import infer_groups
from data_prep.dataset.scan import with_probe
from data_prep.manifest import ManifestRow, with_file_facts
from data_prep.status import Status
from models.audio.front_end import AudioFrontEnd
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.errors import UserError, nearest
from pipeline.features.encode_stream import whole_clips
from pipeline.features.samples import LabelledSample
from pipeline.inference.classifier import Classifier
from pipeline.inference.predictor import prediction_row
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.prep.prep_plan import with_stored_windows
from pipeline.prep.scanning import probe_files
from pipeline.reporter import ProgressReporter
from pipeline.storage.predictions import EVAL_COLUMNS, Prediction, write_predictions
from pipeline.tasks.base import Task
from pipeline.training.training_data import PreparedData


def classify_test_split(classifier: Classifier, prepared: PreparedData) -> list[EvaluatedClip]:
    """Classify the test split of a prepared work folder. Raises UserError if there is none."""
    model = classifier.model
    if prepared.record.clip != model.card.clip:
        raise UserError(f"{prepared.work} was prepared again with other clip settings; train again")
    # baselines use features of the frozen encoder, even if the model's own was fine-tuned
    plain = {
        item.row.id: item.sample
        for item in prepared.samples(["test"], baseline_front_end(model.card, prepared))
    }
    tuned = model.card.frames_from_jpegs
    items = (
        _tuned_samples(classifier, prepared)  # stored features are the frozen encoder's
        if tuned
        else prepared.samples(["test"], model.front_end)
    )
    clips = [
        EvaluatedClip(item.row, _prediction(classifier, item), item.sample, plain[item.row.id])
        for item in items
    ]
    # files that failed before the splits were drawn have none
    failed = [
        row
        for row in prepared.rows
        if row.label and not row.status.usable and row.split in ("", "test")
    ]
    clips += [failed_clip(row) for row in failed]
    if not items:
        raise UserError(f"no clip of {prepared.work} has the split 'test'")
    return clips


def _tuned_samples(classifier: Classifier, prepared: PreparedData) -> list[LabelledSample]:
    """Test clips with features of the fine-tuned encoder, computed from the media files."""
    rows = [r for r in prepared.rows if r.trainable and r.split == "test"]
    encoded = whole_clips(classifier.encode([row.source for row in rows]))
    return [
        LabelledSample(row, classifier.sample(clip))
        for row, clip in zip(rows, encoded, strict=True)
        if clip.outcome.status.usable
    ]


def _prediction(classifier: Classifier, item: LabelledSample) -> Prediction:
    return classifier.predict_sample(item.row.path, row_outcome(item.row), item.sample)


def row_outcome(row: ManifestRow) -> ClipOutcome:
    """Outcome of decoding a prepared clip, from its manifest row."""
    return ClipOutcome(
        row.status, row.error, row.planned_duration_s,
        has_video=bool(row.has_video), has_audio=bool(row.has_audio),
    )  # fmt: skip


def failed_clip(row: ManifestRow) -> EvaluatedClip:
    """A labelled file without a prediction, with the reason."""
    return EvaluatedClip(row, Prediction(row.path, row.status, row.error), None)


def classify_labelled_set(
    classifier: Classifier, data: Path, config: Config, progress: ProgressReporter
) -> list[EvaluatedClip]:
    """Decode and classify a labelled set. Raises UserError for labels unknown to the model."""
    task = classifier.task
    listing = list_data_set(data, config.labels, task.settings if task.in_time else None)
    for note in listing.notes:
        progress.note(note)
    rows = [with_file_facts(row) for row in listing.rows]
    readable = [replace(row, status=Status.OK) for row in rows]  # files are probed below
    unknown = sorted(set(classifier.task.labels(readable)) - set(classifier.labels))
    if unknown:
        raise UserError(
            f"{data} has labels the model does not know: {', '.join(map(repr, unknown[:5]))}; it "
            f"knows {', '.join(classifier.labels[:20])}.{nearest(unknown[0], classifier.labels)}"
        )
    rows = [row for row in rows if row.label]
    paths = sorted({row.path for row in rows})
    probes = dict(zip(paths, probe_files(paths, config, progress), strict=True))
    rows = [with_probe(row, probes[row.path]) for row in rows]
    rows, group_note = infer_groups(
        rows, config.split.infer_groups, row_labels=classifier.task.row_labels
    )
    progress.note(group_note)
    encoded = whole_clips(classifier.encode([row.source for row in rows if row.status.usable]))
    clips = []
    progress.start("classifying", len(rows))
    for row in rows:
        if not row.status.usable:
            clips.append(failed_clip(row))
        else:
            clip = next(encoded)  # the usable rows, in the same order
            sample = plain = None
            if clip.outcome.status.usable:
                sample = classifier.sample(clip)
                prediction = classifier.predict_sample(row.path, clip.outcome, sample)
            else:
                prediction = prediction_row(row.path, clip.outcome, "", None)
            # features of a fine-tuned encoder would give baselines an advantage
            tuned = classifier.model.card.frames_from_jpegs
            if sample is not None and prediction.status.usable and not tuned:
                plain = classifier.sample(clip, baseline_front_end(classifier.card))
            clips.append(EvaluatedClip(row, prediction, sample, plain))
        progress.advance()
    progress.finish()
    return clips


def baseline_front_end(card: ModelCard, prepared: PreparedData | None = None) -> AudioFrontEnd:
    """Audio front end of the baselines: pretrained if the model's is, else log-mel.

    Pretrained too if the model's encoder was fine-tuned and features of the frozen one are stored.
    """
    settings = card.model
    if settings.audio_front_end != "pretrained":
        front_end = "log_mel"  # not waveform, whose mean over time carries no information
        if card.frames_from_jpegs and prepared is not None and prepared.record.sound_windows:
            settings, front_end = with_stored_windows(settings, prepared.record), "pretrained"
        settings = settings.model_copy(update={"audio_front_end": front_end})
    return build_front_end(card.model_copy(update={"model": settings}))


def write_table(
    path: Path, clips: Sequence[EvaluatedClip], task: Task, labels: Sequence[str], model: str
) -> None:
    """Write predictions.csv with the additional columns of labelled clips."""
    # start_s and end_s only if there are segments
    segments = any(clip.row.start_s is not None or clip.row.end_s is not None for clip in clips)
    columns = (*EVAL_COLUMNS, "start_s", "end_s") if segments else EVAL_COLUMNS
    rows = [
        replace(clip.prediction, more={name: _text(getattr(clip.row, name)) for name in columns})
        for clip in clips
    ]
    write_predictions(path, rows, task, labels, model, columns)


def _text(value: object) -> str:
    return "" if value is None else str(value)
