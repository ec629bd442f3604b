"""eval: a trained run on its test split, or on another labelled set, beside the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.dataset.clip_store import Outcome
from data_prep.dataset.listing import list_data_set
from data_prep.dataset.manifest import ManifestRow, with_file_facts
from data_prep.dataset.scan import with_probe
from data_prep.files import write_text_atomically
from data_prep.status import DataSetError, Status
from models.audio_front_end import AudioFrontEnd
from pipeline.checkpoints.checkpoint import LoadedModel
from pipeline.classifying.classify import Classifier
from pipeline.classifying.classify_table import refuse_other_than_card
from pipeline.classifying.predictor import row_of
from pipeline.config import Config
from pipeline.encoding.engine import whole_clips
from pipeline.encoding.samples import Sample
from pipeline.errors import UserError
from pipeline.evaluating.baselines import run_baselines
from pipeline.evaluating.metrics import METRICS_VERSION, score
from pipeline.preparing.prep import windowed
from pipeline.preparing.scanning import probe_files
from pipeline.records.predictions import EVAL_COLUMNS, Prediction, write_predictions
from pipeline.records.run_record import read_run_record
from pipeline.reporting import Reporter
from pipeline.training.training_data import LabelledSample, PreparedData, open_prepared


@dataclass(frozen=True)
class EvaluatedClip:
    """A labelled row and its prediction.

    sample: what the model was given; plain: what baselines are given (features of the frozen
    encoder, log-mel). None where the clip failed, or where there are no such features.
    """

    row: ManifestRow
    prediction: Prediction
    sample: Sample | None
    plain: Sample | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows."""

    run: Path
    what: str
    labels: tuple[str, ...]
    clips: list[EvaluatedClip]
    metrics: dict[str, Any]
    notes: list[str]

    @property
    def judged(self) -> list[EvaluatedClip]:
        return [clip for clip in self.clips if clip.prediction.status.usable]


def evaluate(
    run: Path, data: Path | None, out: Path | None, config: Config, report: Reporter
) -> Evaluation:
    """Write metrics.json, predictions.csv and report.html. Raises UserError, DataSetError."""
    from pipeline.evaluating.report import write_report

    classifier = Classifier.load(run, config)
    refuse_other_than_card(config, classifier.model.card, run)
    prepared, missing = _prepared(run)
    decodes = data is not None or classifier.card.frames_from_jpegs
    if decodes and classifier.backend_note:
        report.note(classifier.backend_note)
    if data is None:
        if prepared is None:
            raise UserError(f"{missing}; give a labelled set with --data")
        clips = _test_split(classifier, prepared)
        what = "the test split"
    else:
        clips = _other_set(classifier, data, config, report)
        what = str(data)
    judged = [clip for clip in clips if clip.prediction.status.usable]
    if not judged:
        raise UserError(f"no labelled clip of {what} could be read; see the reasons with scan")
    labels = classifier.labels
    truth = [clip.row.label for clip in judged]
    predicted = [clip.prediction.predicted(labels) for clip in judged]
    report.note(f"evaluated {len(judged)} clips of {what}; computing baselines")
    metrics: dict[str, Any] = {
        "version": METRICS_VERSION,
        **score(truth, predicted, labels),
        "baselines": {},
        "evaluated_on": "test split" if data is None else "other data",
        "n_failed": len(clips) - len(judged),
        "modalities": classifier.model.card.model.modalities,
        "model": classifier.model.digest,
    }
    notes = []
    if prepared is None:
        notes.append(f"No baselines: {missing}.")
    elif any(clip.plain is None for clip in judged):
        notes.append("No baselines: they need features of the encoder before it was tuned.")
    else:
        metrics["baselines"] = _baselines(classifier, prepared, judged)
    evaluation = Evaluation(run, what, labels, clips, metrics, notes)
    folder = out if out is not None else run / "eval"
    write_text_atomically(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    _write_table(folder / "predictions.csv", evaluation, classifier.model)
    write_report(folder / "report.html", evaluation, classifier.model)
    return evaluation


def _prepared(run: Path) -> tuple[PreparedData | None, str]:
    """The work folder the run was trained on, or why it cannot be used."""
    record = read_run_record(run)
    if record is None:
        return None, f"{run} holds no run.json, so its training clips are unknown"
    try:
        prepared = open_prepared(Path(record.work))
    except (UserError, DataSetError) as error:
        return None, f"the training clips are not at hand ({error})"
    if prepared.digest != record.data_digest:
        return None, (
            f"{prepared.work} holds other clips, labels or splits than {run} was trained on, so "
            "its test split may hold training clips; train again into another --run"
        )
    return prepared, ""


def _test_split(classifier: Classifier, prepared: PreparedData) -> list[EvaluatedClip]:
    model = classifier.model
    if prepared.record.clip != model.card.clip:
        raise UserError(f"{prepared.work} was prepared anew with other clip settings; train again")
    plain = {
        item.row.id: item.sample
        for item in prepared.samples(["test"], baseline_front_end(model, prepared))
    }
    tuned = model.card.frames_from_jpegs
    items = (
        _tuned_samples(classifier, prepared)
        if tuned
        else prepared.samples(["test"], model.front_end)
    )
    clips = [
        EvaluatedClip(item.row, _prediction(classifier, item), item.sample, plain[item.row.id])
        for item in items
    ]
    failed = [row for row in prepared.rows if row.label and not row.status.usable]
    clips += [
        EvaluatedClip(row, Prediction(row.path, row.status, row.error), None) for row in failed
    ]
    if not items:
        raise UserError(f"no clip of {prepared.work} has the split 'test'")
    return clips


def _tuned_samples(classifier: Classifier, prepared: PreparedData) -> list[LabelledSample]:
    """Test clips with features from the tuned encoder, as classify makes them."""
    rows = [r for r in prepared.rows if r.trainable and r.split == "test"]
    encoded = whole_clips(classifier.encode([row.source for row in rows]))
    return [
        LabelledSample(row, classifier.sample(clip))
        for row, clip in zip(rows, encoded, strict=True)
        if clip.outcome.status.usable
    ]


def _prediction(classifier: Classifier, item: LabelledSample) -> Prediction:
    row = item.row
    outcome = Outcome(
        row.status, row.error, row.planned_duration_s,
        has_video=bool(row.has_video), has_audio=bool(row.has_audio),
    )  # fmt: skip
    return classifier.predict_sample(row.path, outcome, item.sample)


def _other_set(
    classifier: Classifier, data: Path, config: Config, report: Reporter
) -> list[EvaluatedClip]:
    rows = [with_file_facts(row) for row in list_data_set(data)]
    strange = sorted({row.label for row in rows} - set(classifier.labels) - {""})
    if strange:
        raise UserError(
            f"{data} has labels the model does not know: {', '.join(strange[:5])}; it knows "
            f"{', '.join(classifier.labels[:20])}"
        )
    rows = [row for row in rows if row.label]
    paths = sorted({row.path for row in rows})
    answers = dict(zip(paths, probe_files(paths, config, report), strict=True))
    rows = [with_probe(row, answers[row.path]) for row in rows]
    encoded = whole_clips(classifier.encode([row.source for row in rows if row.status.usable]))
    clips = []
    report.start("classifying", len(rows))
    for row in rows:
        if not row.status.usable:
            clips.append(EvaluatedClip(row, Prediction(row.path, row.status, row.error), None))
        else:
            clip = next(encoded)
            sample = plain = None
            if clip.outcome.status.usable:
                sample = classifier.sample(clip)
                prediction = classifier.predict_sample(row.path, clip.outcome, sample)
            else:
                prediction = row_of(row.path, clip.outcome, "", None)
            tuned = classifier.model.card.frames_from_jpegs
            if sample is not None and prediction.status.usable and not tuned:
                plain = classifier.sample(clip, baseline_front_end(classifier.model))
            clips.append(EvaluatedClip(row, prediction, sample, plain))
        report.advance()
    report.finish()
    return clips


def _baselines(
    classifier: Classifier, prepared: PreparedData, judged: Sequence[EvaluatedClip]
) -> dict[str, Any]:
    """Baselines see what the model may see: one modality's model is compared on that alone."""
    front_end = baseline_front_end(classifier.model, prepared)
    parts = {}
    for split in ("train", "val"):
        items = prepared.samples([split], front_end)
        parts[split] = (
            [_restricted(classifier, item.sample) for item in items],
            [item.row.label for item in items],
        )
    test = (
        [_restricted(classifier, clip.plain) for clip in judged if clip.plain is not None],
        [clip.row.label for clip in judged],
    )
    return run_baselines(parts["train"], parts["val"], test, classifier.labels)


def baseline_front_end(model: LoadedModel, prepared: PreparedData | None = None) -> AudioFrontEnd:
    """Pretrained where the model's is, or where the model's own encoder was tuned and the frozen
    one's features are at hand; else log-mel, since a waveform's mean says nothing."""
    if model.front_end.takes_windows:
        return model.front_end
    clip, card = model.card.clip, model.card
    if card.frames_from_jpegs and prepared is not None and prepared.record.sound_windows:
        pretrained = windowed(card.model, prepared.record)
        pretrained = pretrained.model_copy(update={"audio_front_end": "pretrained"})
        return AudioFrontEnd(
            pretrained, clip.audio_rate_hz, clip.samples_per_step, card.encoder.n_features
        )
    settings = model.card.model.model_copy(update={"audio_front_end": "log_mel"})
    return AudioFrontEnd(settings, clip.audio_rate_hz, clip.samples_per_step)


def _restricted(classifier: Classifier, sample: Sample) -> Sample:
    net = classifier.model.classifier
    return Sample(
        sample.picture,
        sample.sound,
        sample.has_picture & net.uses_picture,
        sample.has_sound & net.uses_sound,
    )


def _write_table(path: Path, evaluation: Evaluation, model: LoadedModel) -> None:
    rows = []
    segments = any(clip.row.start_s is not None for clip in evaluation.clips)
    more = (*EVAL_COLUMNS, "start_s", "end_s") if segments else EVAL_COLUMNS
    for clip in evaluation.clips:
        cells = {name: _text(getattr(clip.row, name)) for name in more}
        p = clip.prediction
        rows.append(
            Prediction(
                p.path, p.status, p.error, p.probabilities, p.has_video, p.has_audio,
                p.duration_s, cells,
            )
        )  # fmt: skip
    write_predictions(path, rows, evaluation.labels, model.digest, more)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def failed_statuses(clips: Sequence[EvaluatedClip]) -> dict[Status, int]:
    """How many clips failed, by status."""
    counts: dict[Status, int] = {}
    for clip in clips:
        status = clip.prediction.status
        if not status.usable:
            counts[status] = counts.get(status, 0) + 1
    return counts
