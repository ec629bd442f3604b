"""Overlap of evaluated clips with a run's training clips, and the leak audit of both together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.manifest import ManifestRow
from data_prep.status import DataSetError
from pipeline.checkpoints.model_card import read_description
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.leak_audit.audit import Prepared, audit_rows
from pipeline.leak_audit.audit_result import AUDIT_FOLDER, Audit, example_of, keep_audit, read_audit
from pipeline.leak_audit.findings import part_cells
from pipeline.leak_audit.recordings import contents, disjoint
from pipeline.metrics.metrics_schema import LeakAudit
from pipeline.reporter import ProgressReporter
from pipeline.storage.run_record import RunRecord, read_run_record
from pipeline.training.training_data import PreparedData, open_prepared

TRAINED = ("train", "val")  # splits whose clips influence a model


@dataclass(frozen=True)
class TrainingClips:
    """The work folder that a run was trained on, and the clips of earlier runs it started from."""

    prepared: PreparedData | None
    missing: str = ""  # why it cannot be used; "" if it can
    crossval: bool = False
    """Whether the run is of a crossval, whose final model was trained on all clips."""
    warm_start: tuple[ManifestRow, ...] = ()
    """Training clips of the models from whose weights the training started (--from)."""
    warm_start_missing: str = ""  # why not all of them are known; "" if they are

    @property
    def trained_on(self) -> PreparedData | None:
        """The work folder with the splits of the training; a crossval trains on all clips."""
        if self.prepared is None or not self.crossval:
            return self.prepared
        return self.prepared.whole

    def in_warm_start(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
        """Rows that the initial weights were trained on, or that are byte-identical to such clips.

        Re-encoded copies are not recognised.
        """
        return _overlapping(self.warm_start, rows)

    def trained_among(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
        """Rows that the model or its initial weights were trained on, by path and time range, or
        by identical bytes."""
        prepared = self.trained_on
        of_run = (
            []
            if prepared is None
            else [row for row in prepared.rows if row.trainable and row.split in TRAINED]
        )
        return _overlapping([*of_run, *self.warm_start], rows)


def _overlapping(trained: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Rows that overlap in time with a training clip of the same file or the same bytes."""
    if not trained:
        return []
    # renamed copies are the same clips, so files are compared by content
    content = contents([*trained, *rows])
    by_content: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in trained:
        by_content[content[row.path]].append(row)
    return [
        row
        for row in rows
        # segments of one file overlap or not, whatever their labels
        if any(not disjoint(row, other) for other in by_content.get(content[row.path], ()))
    ]


def training_clips(run: Path) -> TrainingClips:
    """Training clips of a run and of the runs it was started from.

    Raises UserError if its run.json is damaged.
    """
    clips, record = _clips_of_run(run), read_run_record(run)
    if record is None or record.begun_from is None:
        return clips
    warm_start, missing = _warm_start_clips(record)
    return replace(clips, warm_start=warm_start, warm_start_missing=missing)


def _warm_start_clips(record: RunRecord) -> tuple[tuple[ManifestRow, ...], str]:
    """(known training clips of the initial weights, why these are not all)."""
    if record.begun_in is None:
        return (), "its run was recorded by an older framewave, without its folder"
    folder = Path(record.begun_in)
    try:
        if read_description(folder).digest != record.begun_from:
            return (), f"{folder} holds another model now"
        earlier = training_clips(folder)  # recursive: that run may have a warm start too
    except UserError as error:
        return (), str(error)
    if earlier.trained_on is None:
        return earlier.warm_start, earlier.missing
    of_run = [row for row in earlier.trained_on.rows if row.trainable and row.split in TRAINED]
    return (*earlier.warm_start, *of_run), earlier.warm_start_missing


def _clips_of_run(run: Path) -> TrainingClips:
    record = read_run_record(run)
    if record is None:
        return TrainingClips(None, f"{run} holds no run.json, so its training clips are unknown")
    crossval = record.crossval is not None
    try:
        prepared = open_prepared(Path(record.work))
    except (UserError, DataSetError) as error:
        return TrainingClips(None, f"the training clips are not available ({error})", crossval)
    found = TrainingClips(prepared, crossval=crossval)
    assert found.trained_on is not None
    # splits may have been drawn again after the training
    if found.trained_on.digest != record.data_digest:
        return TrainingClips(
            None,
            f"{prepared.work} holds other clips, labels or splits than {run} was trained on, so "
            "its test split may hold training clips; train again into another --run",
            crossval,
        )
    return found


TEST_SPLIT, OUT_OF_FOLD, OTHER_DATA = "test split", "out of fold", "other data"
_SIDES = {"splits", "folds"}


def audit_overlap(
    evaluated: Sequence[ManifestRow],
    training: TrainingClips,
    evaluated_on: str,
    folder: Path,
    config: Config,
    progress: ProgressReporter,
) -> dict[str, Any]:
    """Leak audit of training and evaluated clips: {"summary", "findings"}.

    evaluated: rows of the evaluated clips. training: if its work folder is not available, only the
    evaluated clips are compared with each other.
    """
    prepared = training.trained_on
    if evaluated_on == OTHER_DATA:
        found = _audit_with_set(evaluated, training, config, progress).as_read()
    else:
        assert prepared is not None
        rows = list(_audit_rows(prepared, evaluated, evaluated_on == OUT_OF_FOLD))
        # an audit takes minutes: one of the same clips is reused
        stored = _stored_audit(prepared.work / AUDIT_FOLDER, rows) or _stored_audit(folder, rows)
        found = stored or audit_rows(rows, _as_prepared(prepared), config, progress).as_read()
        if stored is None:
            keep_audit(folder, found)
        # an audit of the work folder does not know the run's warm start
        found["summary"]["trained_on"] = len(training.in_warm_start(evaluated))
    if training.warm_start_missing:
        found["summary"]["with_training"] = False  # not with all training clips
    found["summary"]["judged"] = _leaking_clips(found["findings"], evaluated)
    return found


def _stored_audit(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Any] | None:
    """An earlier audit of these clips; None if there is none, or if it is damaged."""
    stored = read_audit(folder, rows)
    try:
        if stored is not None:
            # "judged" is not part of what is stored
            LeakAudit.model_validate(stored["summary"] | {"judged": _leaking_clips([], [])})
    except ValueError:
        return None
    return stored


def _audit_rows(
    prepared: PreparedData, evaluated: Sequence[ManifestRow], out_of_fold: bool
) -> Iterator[ManifestRow]:
    """The work folder's trainable clips, with folds or splits as the evaluation uses them."""
    folds = {row.key: row.fold for row in evaluated}
    for row in prepared.rows:
        if row.trainable and out_of_fold:
            yield replace(row, fold=folds.get(row.key, row.fold), split="")
        elif row.trainable:
            yield replace(row, fold="")  # the model was trained by splits


def _leaking_clips(
    findings: Sequence[dict[str, str]], evaluated: Sequence[ManifestRow]
) -> dict[str, Any]:
    """Number of evaluated clips that share a recording with training clips, and an example."""
    keys = {tuple(part_cells(row)) for row in evaluated}
    leaking: set[tuple[str, ...]] = set()
    example = None
    for finding in findings:
        if _SIDES & set(finding["crosses"].split()):
            ends = {
                (finding[end], finding[f"{end}_start_s"], finding[f"{end}_end_s"])
                for end in ("first", "second")
                if finding[f"{end}_split"] not in TRAINED  # the evaluated end of the pair
            }
            if ends & keys:
                leaking |= ends & keys
                example = example or example_of(finding)  # findings come worst first
    return {"n": len(evaluated), "n_leaking": len(leaking), "example": example}


def _audit_with_set(
    evaluated: Sequence[ManifestRow],
    training: TrainingClips,
    config: Config,
    progress: ProgressReporter,
) -> Audit:
    """Audit of training clips and another labelled set: findings with at least one of the set."""
    prepared = training.trained_on
    trained = [row for row in prepared.rows if _is_trained(row)] if prepared is not None else []
    known = {row.key for row in [*trained, *training.in_warm_start(evaluated)]}
    # clips trained on would be found as copies of themselves; they are counted instead
    new = [row for row in evaluated if row.key not in known]
    rows = [
        *(replace(row, fold="") for row in trained),  # folds of two sets are not related
        *(replace(row, split=OTHER_DATA, fold="") for row in new),
    ]
    audited = None if prepared is None else _as_prepared(prepared)
    found = audit_rows(rows, audited, config, progress)
    of_set = [f for f in found.findings if OTHER_DATA in (f.first.split, f.second.split)]
    return replace(
        found,
        findings=of_set,
        trained_on=len(evaluated) - len(new),
        with_training=prepared is not None,
        groups={row.id: row.group_or_path for row in rows},  # no merging of groups is proposed
        optimism=None,
    )


def _is_trained(row: ManifestRow) -> bool:
    return row.trainable and row.split in TRAINED


def _as_prepared(prepared: PreparedData) -> Prepared:
    """The work folder as an argument of the audit; all of its trainable clips are prepared."""
    ids = frozenset(row.id for row in prepared.rows if row.trainable)
    return Prepared(prepared.store, prepared.record.clip, ids)
