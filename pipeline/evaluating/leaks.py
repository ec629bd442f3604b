"""The leak audit as part of an evaluation: clips trained on and clips judged, compared together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.audit import Prepared, audit_rows
from pipeline.auditing.findings import part_cells
from pipeline.auditing.outcome import AUDIT_FOLDER, Audit, example_of, keep_audit, read_audit
from pipeline.config import Config
from pipeline.evaluating.schema import LeakAudit
from pipeline.evaluating.training_clips import TRAINED, TrainingClips
from pipeline.reporting import Reporter
from pipeline.training.training_data import PreparedData

TEST_SPLIT, OUT_OF_FOLD, OTHER_DATA = "test split", "out of fold", "other data"
_SIDES = {"splits", "folds"}


def audited(
    judged: Sequence[ManifestRow],
    training: TrainingClips,
    evaluated_on: str,
    folder: Path,
    config: Config,
    report: Reporter,
) -> dict[str, Any]:
    """{"summary", "findings"}; an earlier audit of the same clips, in the work folder or in this
    evaluation's, is taken as it is.

    judged: rows of the clips that were evaluated. training: where its work folder is not at hand,
    only the judged clips are compared with each other.
    """
    prepared = training.trained_on
    if evaluated_on == OTHER_DATA:
        found = _beside_another_set(judged, training, config, report).as_read()
    else:
        assert prepared is not None
        rows = list(_placed(prepared, judged, evaluated_on == OUT_OF_FOLD))
        kept = _kept(prepared.work / AUDIT_FOLDER, rows) or _kept(folder, rows)
        found = kept or audit_rows(rows, _held(prepared), config, report).as_read()
        if kept is None:
            keep_audit(folder, found)
        found["summary"]["trained_on"] = len(training.seen_before(judged))
    if training.before_missing:
        found["summary"]["with_training"] = False
    found["summary"]["judged"] = _touched(found["findings"], judged)
    return found


def _kept(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Any] | None:
    """An earlier audit of these clips; None where there is none, or it was damaged since."""
    kept = read_audit(folder, rows)
    try:
        if kept is not None:
            LeakAudit.model_validate(kept["summary"] | {"judged": _touched([], [])})
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


def _touched(findings: Sequence[dict[str, str]], judged: Sequence[ManifestRow]) -> dict[str, Any]:
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
    report: Reporter,
) -> Audit:
    """What stands between clips trained on and clips judged, or among these. Folds that either set
    has play no part."""
    prepared = training.trained_on
    trained = [row for row in prepared.rows if _is_trained(row)] if prepared is not None else []
    known = {row.key for row in [*trained, *training.seen_before(judged)]}
    new = [row for row in judged if row.key not in known]
    rows = [
        *(replace(row, fold="") for row in trained),
        *(replace(row, split=OTHER_DATA, fold="") for row in new),
    ]
    held = None if prepared is None else _held(prepared)
    found = audit_rows(rows, held, config, report)
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
