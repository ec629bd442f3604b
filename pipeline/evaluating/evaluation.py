"""eval: a trained run on its test split, or on another labelled set, beside the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep.status import DataSetError
from pipeline.classifying.classify import Classifier
from pipeline.classifying.classify_table import refuse_other_than_card
from pipeline.config import Config
from pipeline.encoding.samples import Sample
from pipeline.errors import UserError
from pipeline.evaluating.ablation import Alone, masked, shown_alone, trained_apart
from pipeline.evaluating.baselines import Labelled, run_baselines
from pipeline.evaluating.clips import (
    EvaluatedClip,
    baseline_front_end,
    other_set,
    test_split,
)
from pipeline.evaluating.evaluation_files import eval_folder, kind_in, write_evaluation
from pipeline.evaluating.leaks import OTHER_DATA, OUT_OF_FOLD, TEST_SPLIT, audited
from pipeline.evaluating.out_of_fold import read_out_of_fold
from pipeline.evaluating.reproduction import reproduction
from pipeline.evaluating.schema import METRICS_VERSION
from pipeline.evaluating.scoring import baseline_scores, data_scores, model_scores
from pipeline.records.run_record import read_run_record
from pipeline.reporting import Reporter
from pipeline.training.training_data import PreparedData, open_prepared


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows."""

    run: Path
    what: str
    labels: tuple[str, ...]
    clips: list[EvaluatedClip]
    metrics: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    """Of the leak audit, as its table has them."""
    prepared: PreparedData | None = None
    """The work folder, where it is at hand: it holds the clips' frames and sound."""

    @property
    def judged(self) -> list[EvaluatedClip]:
        return [clip for clip in self.clips if clip.prediction.status.usable]


def evaluate(
    run: Path,
    data: Path | None,
    out: Path | None,
    config: Config,
    report: Reporter,
    audit: bool = True,
) -> Evaluation:
    """Write metrics.json and predictions.csv. Raises UserError, DataSetError.

    audit: also look for clips of one recording, among those trained on and these.
    """
    folder = eval_folder(run, out)
    classifier = Classifier.load(run, config)
    refuse_other_than_card(config, classifier.model.card, run)
    kept = read_out_of_fold(run, classifier.labels) if data is None else None
    prepared, missing = _prepared(run)
    if kept is not None:
        what = "the work folder (each judged by networks that were not trained on its fold)"
        alone = kept.summary.get("shown_alone", {})
        clips = _with_columns(kept.clips, prepared)
        evaluation = _evaluation(classifier, run, what, clips, OUT_OF_FOLD, alone)
        evaluation.metrics["baselines"] = kept.summary["baselines"]
    else:
        evaluation = _beside_baselines(classifier, run, data, config, report, prepared, missing)
    evaluation = replace(evaluation, prepared=prepared)
    if audit:
        evaluation = _audited(evaluation, prepared, missing, folder, config, report)
    evaluation.metrics["reproduction"] = reproduction(classifier)
    before = kind_in(folder)
    if before not in (None, evaluation.metrics["evaluated_on"]):
        report.note(
            f"{folder} held an evaluation ({before}); this one takes its place (--out keeps both)"
        )
    write_evaluation(
        folder, evaluation.clips, evaluation.labels, evaluation.metrics, evaluation.findings
    )
    return evaluation


def _with_columns(
    clips: Sequence[EvaluatedClip], prepared: PreparedData | None
) -> list[EvaluatedClip]:
    """Clips that a crossval judged, with all columns of the manifest, where it is at hand."""
    rows = {row.key: row for row in prepared.rows} if prepared is not None else {}
    return [
        replace(clip, row=replace(rows.get(clip.row.key, clip.row), fold=clip.row.fold, split=""))
        for clip in clips
    ]


def _audited(
    evaluation: Evaluation,
    prepared: PreparedData | None,
    missing: str,
    folder: Path,
    config: Config,
    report: Reporter,
) -> Evaluation:
    """With the leak audit of the clips trained on and those judged, where these can be had."""
    kind = evaluation.metrics["evaluated_on"]
    if prepared is None and kind != OTHER_DATA:
        evaluation.notes.append(f"Clips of one recording were not looked for: {missing}.")
        return evaluation
    record = read_run_record(evaluation.run)
    if prepared is not None and record is not None and record.crossval is not None:
        prepared = prepared.whole  # it trained on all, whatever splits say
    rows = [clip.row for clip in evaluation.judged]
    found = audited(rows, prepared, kind, folder, config, report)
    evaluation.metrics["audit"] = found["summary"]
    return replace(evaluation, findings=found["findings"])


def _beside_baselines(
    classifier: Classifier,
    run: Path,
    data: Path | None,
    config: Config,
    report: Reporter,
    prepared: PreparedData | None,
    missing: str,
) -> Evaluation:
    """The test split, or another labelled set, with baselines fitted on the training clips."""
    record = read_run_record(run)
    if record is not None and record.crossval is not None and data is None:
        raise UserError(
            f"{run} is a crossval that has not ended; run the same `framewave crossval` command "
            "again, it continues"
        )
    decodes = data is not None or classifier.card.frames_from_jpegs
    if decodes and classifier.backend_note:
        report.note(classifier.backend_note)
    if data is None:
        if prepared is None:
            raise UserError(f"{missing}; or give a labelled set with --data")
        what, kind, clips = "the test split", TEST_SPLIT, test_split(classifier, prepared)
    else:
        what, kind = str(data), OTHER_DATA
        clips = other_set(classifier, data, config, report)
    alone = shown_alone(classifier, clips, report)
    evaluation = _evaluation(classifier, run, what, clips, kind, alone)
    judged = evaluation.judged
    report.note(f"evaluated {len(judged)} clips of {what}; computing baselines")
    if prepared is None:
        evaluation.notes.append(f"No baselines: {missing}.")
    elif any(clip.plain is None for clip in judged):
        evaluation.notes.append(
            "No baselines: they need features of the encoder before it was tuned."
        )
    else:
        evaluation.metrics["baselines"] = _baselines(classifier, prepared, judged)
    return evaluation


def _evaluation(
    classifier: Classifier,
    run: Path,
    what: str,
    clips: list[EvaluatedClip],
    kind: str,
    alone: Alone,
) -> Evaluation:
    """The model's scores on these clips, without baselines and audit yet."""
    judged = [clip for clip in clips if clip.prediction.probabilities is not None]
    if not judged:
        raise UserError(f"no labelled clip of {what} could be read; see the reasons with scan")
    labels = classifier.labels
    metrics: dict[str, Any] = {
        "version": METRICS_VERSION,
        **model_scores(judged, labels),
        "baselines": {},
        "evaluated_on": kind,
        "n_failed": len(clips) - len(judged),
        "modalities": classifier.model.card.model.modalities,
        "model": classifier.model.digest,
        "modality_ablation": {
            "masked": masked(alone, judged, labels),
            "trained_apart": trained_apart(run, judged, labels),
        },
        "data": data_scores(clips, labels),
        "audit": None,
    }
    return Evaluation(run, what, labels, clips, metrics)


def _prepared(run: Path) -> tuple[PreparedData | None, str]:
    """The work folder the run was trained on, or why it cannot be used."""
    record = read_run_record(run)
    if record is None:
        return None, f"{run} holds no run.json, so its training clips are unknown"
    try:
        prepared = open_prepared(Path(record.work))
    except (UserError, DataSetError) as error:
        return None, f"the training clips are not at hand ({error})"
    digest = prepared.digest if record.crossval is None else prepared.whole.digest
    if digest != record.data_digest:
        return None, (
            f"{prepared.work} holds other clips, labels or splits than {run} was trained on, so "
            "its test split may hold training clips; train again into another --run"
        )
    return prepared, ""


def _baselines(
    classifier: Classifier, prepared: PreparedData, judged: Sequence[EvaluatedClip]
) -> dict[str, Any]:
    """Baselines see what the model may see: one modality's model is compared on that alone."""
    front_end = baseline_front_end(classifier.card, prepared)
    record = read_run_record(classifier.run)
    # A crossval's model was trained on all clips, so baselines are fitted on all of them too.
    on_all = record is not None and record.crossval is not None
    train, val = (
        Labelled(
            [_restricted(classifier, item.sample) for item in items],
            [item.row.label for item in items],
        )
        for items in (
            prepared.samples(["train", "test"] if on_all else ["train"], front_end),
            prepared.samples(["val"], front_end),
        )
    )
    test = [_restricted(classifier, clip.plain) for clip in judged if clip.plain is not None]
    labels = classifier.labels
    return baseline_scores(
        run_baselines(train, val, test, refit=on_all),
        [clip.row.label for clip in judged],
        [clip.prediction.predicted(labels) for clip in judged],
        [clip.row.group_or_path for clip in judged],
        labels,
    )


def _restricted(classifier: Classifier, sample: Sample) -> Sample:
    net = classifier.model.classifier
    return sample.restricted(net.uses_picture, net.uses_sound)
