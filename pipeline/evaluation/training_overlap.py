"""The clips that a run was trained on, where they are at hand.

The leak audit as part of an evaluation: clips trained on and clips judged, compared together.
"""

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

TRAINED = ("train", "val")
"""Splits whose clips shape a model."""


@dataclass(frozen=True)
class TrainingClips:
    """The work folder that a run was trained on."""

    prepared: PreparedData | None
    missing: str = ""
    """Why it cannot be used, where it cannot."""
    crossval: bool = False
    """Whether the run is a crossval's, whose model was trained on all clips."""
    before: tuple[ManifestRow, ...] = ()
    """The clips that the models were trained on with whose weights it began."""
    before_missing: str = ""
    """Why they are not all known, where they are not."""

    @property
    def trained_on(self) -> PreparedData | None:
        """With splits as training had them: a crossval went by none."""
        if self.prepared is None or not self.crossval:
            return self.prepared
        return self.prepared.whole

    def in_warm_start(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
        """Those of the rows that the weights it began with were trained on, or byte for byte the
        same; copies that were coded again are not known."""
        return _in(self.before, rows)

    def trained_among(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
        """Those of the rows that shaped the model or the one it began with, by path and times or
        byte for byte."""
        prepared = self.trained_on
        own = (
            []
            if prepared is None
            else [row for row in prepared.rows if row.trainable and row.split in TRAINED]
        )
        return _in([*own, *self.before], rows)


def _in(trained: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Those of the rows that share a moment of a file, or of its content, with the others."""
    if not trained:
        return []
    content = contents([*trained, *rows])
    known: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in trained:
        known[content[row.path]].append(row)
    return [
        row
        for row in rows
        if any(not disjoint(row, other) for other in known.get(content[row.path], ()))
    ]


def training_clips(run: Path) -> TrainingClips:
    """Those of a run, and of the runs that it was begun from. Raises UserError where its run.json
    is damaged."""
    found, record = _own_clips(run), read_run_record(run)
    if record is None or record.begun_from is None:
        return found
    before, missing = _clips_before(record)
    return replace(found, before=before, before_missing=missing)


def _clips_before(record: RunRecord) -> tuple[tuple[ManifestRow, ...], str]:
    """(all clips that went into the weights it began with, why these are not all)."""
    if record.begun_in is None:
        return (), "its run was recorded by an older framewave, without its folder"
    folder = Path(record.begun_in)
    try:
        if read_description(folder).digest != record.begun_from:
            return (), f"{folder} holds another model now"
        earlier = training_clips(folder)
    except UserError as error:
        return (), str(error)
    if earlier.trained_on is None:
        return earlier.before, earlier.missing
    own = [row for row in earlier.trained_on.rows if row.trainable and row.split in TRAINED]
    return (*earlier.before, *own), earlier.before_missing


def _own_clips(run: Path) -> TrainingClips:
    record = read_run_record(run)
    if record is None:
        return TrainingClips(None, f"{run} holds no run.json, so its training clips are unknown")
    crossval = record.crossval is not None
    try:
        prepared = open_prepared(Path(record.work))
    except (UserError, DataSetError) as error:
        return TrainingClips(None, f"the training clips are not at hand ({error})", crossval)
    found = TrainingClips(prepared, crossval=crossval)
    assert found.trained_on is not None
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
    judged: Sequence[ManifestRow],
    training: TrainingClips,
    evaluated_on: str,
    folder: Path,
    config: Config,
    progress: ProgressReporter,
) -> dict[str, Any]:
    """{"summary", "findings"}; an earlier audit of the same clips, in the work folder or in this
    evaluation's, is taken as it is.

    judged: rows of the clips that were evaluated. training: where its work folder is not at hand,
    only the judged clips are compared with each other.
    """
    prepared = training.trained_on
    if evaluated_on == OTHER_DATA:
        found = _beside_another_set(judged, training, config, progress).as_read()
    else:
        assert prepared is not None
        rows = list(_placed(prepared, judged, evaluated_on == OUT_OF_FOLD))
        kept = _kept(prepared.work / AUDIT_FOLDER, rows) or _kept(folder, rows)
        found = kept or audit_rows(rows, _held(prepared), config, progress).as_read()
        if kept is None:
            keep_audit(folder, found)
        found["summary"]["trained_on"] = len(training.in_warm_start(judged))
    if training.before_missing:
        found["summary"]["with_training"] = False
    found["summary"]["judged"] = _leaking_clips(found["findings"], judged)
    return found


def _kept(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Any] | None:
    """An earlier audit of these clips; None where there is none, or it was damaged since."""
    kept = read_audit(folder, rows)
    try:
        if kept is not None:
            LeakAudit.model_validate(kept["summary"] | {"judged": _leaking_clips([], [])})
    except ValueError:
        return None
    return kept


def _placed(
    prepared: PreparedData, judged: Sequence[ManifestRow], out_of_fold: bool
) -> Iterator[ManifestRow]:
    """The work folder's clips; what plays no part here, folds or splits, is left out."""
    folds = {row.key: row.fold for row in judged}
    for row in prepared.rows:
        if row.trainable and out_of_fold:
            yield replace(row, fold=folds.get(row.key, row.fold), split="")
        elif row.trainable:
            yield replace(row, fold="")


def _leaking_clips(
    findings: Sequence[dict[str, str]], judged: Sequence[ManifestRow]
) -> dict[str, Any]:
    """How many judged clips are of one recording with clips trained on."""
    ours = {tuple(part_cells(row)) for row in judged}
    touched: set[tuple[str, ...]] = set()
    example = None
    for finding in findings:
        if _SIDES & set(finding["crosses"].split()):
            ends = {
                (finding[end], finding[f"{end}_start_s"], finding[f"{end}_end_s"])
                for end in ("first", "second")
                if finding[f"{end}_split"] not in TRAINED  # some of another set may be
            }
            if ends & ours:
                touched |= ends & ours
                example = example or example_of(finding)
    return {"n": len(judged), "n_leaking": len(touched), "example": example}


def _beside_another_set(
    judged: Sequence[ManifestRow],
    training: TrainingClips,
    config: Config,
    progress: ProgressReporter,
) -> Audit:
    """What stands between clips trained on and clips judged, or among these. Folds that either set
    has play no part."""
    prepared = training.trained_on
    trained = [row for row in prepared.rows if _is_trained(row)] if prepared is not None else []
    known = {row.key for row in [*trained, *training.in_warm_start(judged)]}
    new = [row for row in judged if row.key not in known]
    rows = [
        *(replace(row, fold="") for row in trained),
        *(replace(row, split=OTHER_DATA, fold="") for row in new),
    ]
    held = None if prepared is None else _held(prepared)
    found = audit_rows(rows, held, config, progress)
    of_judged = [f for f in found.findings if OTHER_DATA in (f.first.split, f.second.split)]
    return replace(
        found,
        findings=of_judged,
        trained_on=len(judged) - len(new),
        with_training=prepared is not None,
        groups={row.id: row.group_or_path for row in rows},  # nothing is proposed for these
        flattery=None,
    )


def _is_trained(row: ManifestRow) -> bool:
    return row.trainable and row.split in TRAINED


def _held(prepared: PreparedData) -> Prepared:
    """The same work folder as the audit takes it: its trainable clips are all in it."""
    ids = frozenset(row.id for row in prepared.rows if row.trainable)
    return Prepared(prepared.store, prepared.record.clip, ids)
