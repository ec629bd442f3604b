"""eval: scores of a trained run on its test split or another labelled set, next to baselines.

The baselines are fitted on the run's training clips and scored on the same clips as the model.
metrics.json also holds what is needed to reproduce the numbers.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from data_prep.settings import ClipSettings, TaskSettings
from models.settings import ModelSettings
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config, CrossvalSettings, TrainSettings
from pipeline.errors import UserError
from pipeline.evaluation.ablation import (
    UnimodalPredictions,
    masked_scores,
    predict_unimodal,
    single_modality_runs,
)
from pipeline.evaluation.evaluated_clips import (
    baseline_front_end,
    classify_labelled_set,
    classify_test_split,
)
from pipeline.evaluation.evaluation_files import (
    eval_folder,
    make_folder,
    read_out_of_fold,
    stored_evaluated_on,
    write_evaluation,
)
from pipeline.evaluation.training_overlap import (
    OTHER_DATA,
    OUT_OF_FOLD,
    TEST_SPLIT,
    TrainingClips,
    audit_overlap,
    training_clips,
)
from pipeline.features.samples import LabelledSample, Sample
from pipeline.inference.classifier import Classifier
from pipeline.inference.classify_table import refuse_other_than_card
from pipeline.metrics.metrics_schema import METRICS_VERSION
from pipeline.metrics.scoring import EvaluatedClip, data_scores
from pipeline.reporter import ProgressReporter
from pipeline.storage.run_record import RunRecord, environment, read_run_record
from pipeline.tasks.base import Task
from pipeline.text_format import counted, trained_on_text
from pipeline.training.training_data import PreparedData


def reproduction(classifier: Classifier) -> dict[str, Any]:
    """Commands, settings, versions and digests that reproduce the model, for metrics.json."""
    card = classifier.card
    # without the typed command, so that it does not depend on the path of the model
    facts: dict[str, Any] = {
        "model": classifier.digest,
        "frame_encoder": card.encoder.model_dump(),
        "members": card.members,
        "environment_now": environment(),
    }
    record = read_run_record(classifier.run)
    if record is None:
        return facts
    settings = {
        **_non_default("train", record.train, TrainSettings()),
        **_non_default("model", card.model.model_dump(), ModelSettings()),
        **_non_default("clip", card.clip.model_dump(), ClipSettings()),
        **_non_default("crossval", record.crossval or {}, CrossvalSettings()),
        **record.prepared_with,
    }
    stage = "train" if record.crossval is None else "crossval"
    return facts | {
        "stage": stage,
        "commands": _commands(
            stage, record.work, settings, _from_option(record), _trained_task(card)
        ),
        "work": record.work,
        "data_digest": record.data_digest,
        "seed": record.train.get("seed"),
        "begun_from": record.begun_from,
        "settings": settings,
        "environment_then": record.environment,
        "prepared_in": record.prepared_in,
        "finished": record.finished,
    }


_ONLY_PREP = ("clip.", "labels.", "split.", "limits.", "classify.")
_PREP = (*_ONLY_PREP, "model.", "task.")
_PREP_KEYS = frozenset({"train.mirror", "device"})  # of other stages, but used by prep too


def _trained_task(card: ModelCard) -> dict[str, Any]:
    changed = {f"task.{key}": value for key, value in card.task_settings.items()}
    return {"task.name": card.task, **changed}


def _commands(
    stage: str,
    work: str,
    settings: Mapping[str, Any],
    from_option: Sequence[str],
    trained_task: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Shell commands that make the model from DATA in a folder NEW.

    trained_task: its settings, which may be others than those in prep.
    """
    words = {key: shlex.quote(f"{key}={_value(value)}") for key, value in settings.items()}
    # prep needs model.* for the frame encoder, train needs it for everything else
    prep = [word for key, word in words.items() if key.startswith(_PREP) or key in _PREP_KEYS]
    for key, value in trained_task.items():
        if settings.get(key, TaskSettings.model_fields[key.removeprefix("task.")].default) != value:
            words[key] = shlex.quote(f"{key}={_value(value)}")
    fit = [word for key, word in words.items() if not key.startswith(_ONLY_PREP)]
    work = shlex.quote(work)
    return [
        " ".join(["framewave prep DATA --work", work, *prep]),
        " ".join([f"framewave {stage} --work", work, "--run NEW", *from_option, *fit]),
    ]


def _from_option(record: RunRecord) -> list[str]:
    if record.begun_from is None:
        return []
    return ["--from", shlex.quote(record.begun_in or "RUN")]  # older runs did not record it


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    # YAML would read these words as null
    return f"'{value}'" if value.lower() in ("null", "none", "~", "") else value


def _non_default(group: str, values: Mapping[str, Any], defaults: BaseModel) -> dict[str, Any]:
    """{"group.key": value} of settings that differ from the defaults; unknown keys are dropped."""
    default = defaults.model_dump()
    return {
        f"{group}.{key}": value
        for key, value in values.items()
        if key in default and default[key] != value
    }


def fitted_baselines(
    classifier: Classifier,
    prepared: PreparedData,
    on_all: bool,
    evaluated: Sequence[EvaluatedClip],
) -> dict[str, Any]:
    """Scores of baselines that are fitted on the splits train and val, on the evaluated clips.

    on_all: also fit on the test split, as the final model of a crossval is. evaluated: clips, all
    with a prediction.
    """
    front_end = baseline_front_end(classifier.card, prepared)
    items = prepared.samples(["train", "val", *(["test"] if on_all else [])], front_end)
    known = [LabelledSample(i.row, _restricted(classifier, i.sample)) for i in items]
    test = [LabelledSample(clip.row, _restricted(classifier, clip.baseline_sample))
            for clip in evaluated if clip.baseline_sample is not None]  # fmt: skip
    task, labels = classifier.task, classifier.labels
    predictions = task.fit_baselines(known, test)
    return task.baseline_scores(
        predictions,
        [clip.row for clip in evaluated],
        [
            task.decision(clip.prediction.probabilities, labels, clip.prediction.classes)
            for clip in evaluated
            if clip.prediction.probabilities is not None
        ],
        labels,
    )


def _restricted(classifier: Classifier, sample: Sample) -> Sample:
    # a model of one modality is compared with baselines of that modality
    net = classifier.model.classifier
    return sample.with_modalities(net.uses_video, net.uses_audio)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation with everything that the report shows. what: the evaluated clips in words."""

    run: Path
    what: str
    task: Task
    labels: tuple[str, ...]
    clips: list[EvaluatedClip]
    metrics: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    """Rows of the leak audit's findings.csv."""
    prepared: PreparedData | None = None
    """The work folder with the clips' frames and sound; None if it is not available."""

    @property
    def predicted_clips(self) -> list[EvaluatedClip]:
        return [clip for clip in self.clips if clip.prediction.status.usable]


def evaluate(
    run: Path,
    data: Path | None,
    out: Path | None,
    config: Config,
    progress: ProgressReporter,
    audit: bool = True,
) -> Evaluation:
    """Evaluate a run and write metrics.json and predictions.csv. Raises UserError, DataSetError.

    audit: also search training and evaluated clips for clips of one recording.
    """
    folder = eval_folder(run, out)
    classifier = Classifier.load(run, config)
    make_folder(folder)  # fails before minutes of work whose result could not be written
    refuse_other_than_card(config, classifier.model.card, run)
    kept = read_out_of_fold(run, classifier.task, classifier.labels) if data is None else None
    training = training_clips(run)
    if kept is not None:
        what = "the work folder (each predicted by networks that were not trained on its fold)"
        unimodal = kept.summary.get("shown_alone", {})
        clips = _with_columns(kept.clips, training.prepared)
        evaluation = _evaluation(classifier, run, what, clips, OUT_OF_FOLD, unimodal)
        evaluation.metrics["baselines"] = kept.summary["baselines"]  # fitted on the same folds
    else:
        evaluation = _with_baselines(classifier, run, data, config, progress, training)
    evaluation = replace(evaluation, prepared=training.prepared)
    if training.warm_start_missing:
        evaluation.notes.append(
            "The training clips of the model that it was started from are not available: "
            f"{training.warm_start_missing}."
        )
    if audit:
        evaluation = _audited(evaluation, training, folder, config, progress)
    else:
        if evaluation.metrics["evaluated_on"] == OTHER_DATA:
            # identical files are found without an audit
            n = len(training.trained_among([clip.row for clip in evaluation.predicted_clips]))
            evaluation.notes.extend(
                filter(None, [trained_on_text(n, len(evaluation.predicted_clips))])
            )
        evaluation.notes.append("Leaks between training and test were not checked (--no-audit).")
    evaluation.metrics["reproduction"] = reproduction(classifier)
    before = stored_evaluated_on(folder)  # read before it is overwritten
    if before not in (None, evaluation.metrics["evaluated_on"]):
        progress.note(
            f"{folder} held an evaluation ({before}); this one replaces it (use --out to keep both)"
        )
    write_evaluation(
        folder,
        evaluation.clips,
        evaluation.task,
        evaluation.labels,
        evaluation.metrics,
        evaluation.findings,
    )
    return evaluation


def _with_columns(
    clips: Sequence[EvaluatedClip], prepared: PreparedData | None
) -> list[EvaluatedClip]:
    """Out-of-fold clips with all columns of the manifest, if the work folder is available."""
    rows = {row.key: row for row in prepared.rows} if prepared is not None else {}
    return [
        # the folds of the crossval, not those the manifest may have now
        replace(
            clip,
            row=replace(
                rows.get(clip.row.key, clip.row),
                fold=clip.row.fold,
                split="",
                segments=clip.row.segments,
                other_segments=clip.row.other_segments,
            ),
        )
        for clip in clips
    ]


def _audited(
    evaluation: Evaluation,
    training: TrainingClips,
    folder: Path,
    config: Config,
    progress: ProgressReporter,
) -> Evaluation:
    """Add the leak audit of training and evaluated clips, or a note why it is not possible."""
    kind = evaluation.metrics["evaluated_on"]
    if training.prepared is None and kind != OTHER_DATA:
        evaluation.notes.append(
            f"Leaks between training and test were not checked: {training.missing}."
        )
        return evaluation
    rows = [clip.row for clip in evaluation.predicted_clips]
    audit = audit_overlap(rows, training, kind, folder, config, progress)
    evaluation.metrics["audit"] = audit["summary"]
    return replace(evaluation, findings=audit["findings"])


def _with_baselines(
    classifier: Classifier,
    run: Path,
    data: Path | None,
    config: Config,
    progress: ProgressReporter,
    training: TrainingClips,
) -> Evaluation:
    """Evaluate on the test split or another labelled set, with baselines."""
    # without out-of-fold predictions, which `evaluate` would have used
    if training.crossval and data is None:
        raise UserError(
            f"{run} is a crossval that has not finished; run the same `framewave crossval` command "
            "again to continue it"
        )
    # stored features were encoded by prep: then the backend here does not matter
    decodes = data is not None or classifier.card.frames_from_jpegs
    if decodes and classifier.backend_note:
        progress.note(classifier.backend_note)
    if data is None:
        if training.prepared is None:
            raise UserError(f"{training.missing}; or give a labelled set with --data")
        what, kind = "the test split", TEST_SPLIT
        clips = classify_test_split(classifier, training.prepared)
    else:
        what, kind = str(data), OTHER_DATA
        clips = classify_labelled_set(classifier, data, config, progress)
    unimodal = predict_unimodal(classifier, clips, progress)
    evaluation = _evaluation(classifier, run, what, clips, kind, unimodal)
    evaluated = evaluation.predicted_clips
    progress.note(f"evaluated {counted(len(evaluated), 'clip')} of {what}; computing baselines")
    if training.prepared is None:
        evaluation.notes.append(f"No baselines: {training.missing}.")
    elif any(clip.baseline_sample is None for clip in evaluated):  # other data: only tuned features
        evaluation.notes.append(
            "No baselines: they need features of the frame encoder before fine-tuning."
        )
    else:
        evaluation.metrics["baselines"] = fitted_baselines(
            classifier, training.prepared, training.crossval, evaluated
        )
    return evaluation


def _evaluation(
    classifier: Classifier,
    run: Path,
    what: str,
    clips: list[EvaluatedClip],
    kind: str,
    unimodal: UnimodalPredictions,
) -> Evaluation:
    """The model's scores on these clips, as yet without baselines and audit."""
    evaluated = [clip for clip in clips if clip.prediction.probabilities is not None]
    if not evaluated:
        raise UserError(f"no labelled clip of {what} could be read; `framewave scan` shows why")
    labels = classifier.labels
    metrics: dict[str, Any] = {
        "version": METRICS_VERSION,
        **classifier.task.scores(evaluated, labels),
        "baselines": {},  # filled in later, as is "audit"
        "evaluated_on": kind,
        "n_failed": len(clips) - len(evaluated),
        "modalities": classifier.model.card.model.modalities,
        "model": classifier.model.digest,
        "modality_ablation": {
            "masked": masked_scores(unimodal, evaluated, classifier.task, labels),
            "trained_apart": single_modality_runs(run, evaluated, classifier.task, labels),
        },
        "data": data_scores(
            clips, classifier.task.counted_labels(labels), classifier.task.row_labels
        ),
        "audit": None,
    }
    return Evaluation(run, what, classifier.task, labels, clips, metrics)
