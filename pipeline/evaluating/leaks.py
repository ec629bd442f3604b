"""The leak audit as part of an evaluation: clips trained on and clips judged, compared together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.audit import Prepared, audit_rows
from pipeline.auditing.outcome import AUDIT_FOLDER, Audit, read_audit, write_audit
from pipeline.config import Config
from pipeline.reporting import Reporter
from pipeline.training.training_data import PreparedData

OTHER = "other data"
_TRAINED = ("train", "val")


def audited(
    judged: Sequence[ManifestRow],
    prepared: PreparedData | None,
    other_data: bool,
    config: Config,
    report: Reporter,
) -> dict[str, Any]:
    """{"summary", "findings"}; an earlier audit of the same clips is taken as it is.

    judged: rows of the clips that were evaluated, of the work folder itself or (other_data) of
    another set. prepared: the work folder of the training, or None where it is not at hand, so that
    only the judged clips are compared with each other.
    """
    if other_data:
        return _beside_another_set(judged, prepared, config, report).as_read()
    assert prepared is not None
    rows = [row for row in prepared.rows if row.trainable]
    if any(row.split != "test" for row in judged):  # out of fold: what splits say plays no part
        folds = {row.key: row.fold for row in judged}
        rows = [replace(row, fold=folds.get(row.key, row.fold), split="") for row in rows]
    else:
        rows = [replace(row, fold="") for row in rows]
    folder = prepared.work / AUDIT_FOLDER
    before = read_audit(folder, rows)
    if before is not None:
        return before
    found = audit_rows(rows, _held(prepared), config, report)
    write_audit(folder, found)
    return found.as_read()


def _beside_another_set(
    judged: Sequence[ManifestRow],
    prepared: PreparedData | None,
    config: Config,
    report: Reporter,
) -> Audit:
    """Only what stands between clips trained on and clips judged can flatter the score."""
    trained = [row for row in prepared.rows if _is_trained(row)] if prepared is not None else []
    known = {row.key for row in trained}
    new = [row for row in judged if row.key not in known]
    rows = [*trained, *(replace(row, split=OTHER) for row in new)]
    held = None if prepared is None else _held(prepared)
    found = audit_rows(rows, held, config, report)
    across = [f for f in found.findings if (f.first.split == OTHER) != (f.second.split == OTHER)]
    return replace(
        found,
        findings=across if trained else found.findings,
        trained_on=len(judged) - len(new),
        with_training=prepared is not None,
        groups={row.id: row.group_or_path for row in rows},  # nothing is proposed for these
        flattery=None,
    )


def _is_trained(row: ManifestRow) -> bool:
    return row.trainable and row.split in _TRAINED


def _held(prepared: PreparedData) -> Prepared:
    """The same work folder as the audit takes it: its trainable clips are all in it."""
    ids = frozenset(row.id for row in prepared.rows if row.trainable)
    return Prepared(prepared.store, prepared.record.clip.audio_rate_hz, ids)
