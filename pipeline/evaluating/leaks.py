"""The leak audit as part of an evaluation: clips trained on and clips judged, compared together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.audit import audit_rows, prepared_in
from pipeline.auditing.outcome import AUDIT_FOLDER, read_audit, write_audit
from pipeline.config import Config
from pipeline.reporting import Reporter
from pipeline.training.training_data import PreparedData

_OTHER = "other data"


def audited(
    judged: Sequence[ManifestRow],
    prepared: PreparedData | None,
    config: Config,
    report: Reporter,
) -> dict[str, Any]:
    """{"summary", "findings"}; an earlier audit of the same clips is taken as it is.

    judged: rows of the clips that were evaluated. prepared: the work folder of the training, or
    None where it is not at hand, so that only the judged clips are compared with each other.
    """
    known = [] if prepared is None else [row for row in prepared.rows if row.trainable]
    keys = {row.key for row in known}
    folds = {row.key: row.fold for row in judged}
    rows = [replace(row, fold=folds.get(row.key, row.fold)) for row in known]
    # of another set every clip is on the other side of what was trained on
    rows += [replace(row, split=_OTHER) for row in judged if row.key not in keys]
    folder = None if prepared is None else prepared.work / AUDIT_FOLDER
    before = None if folder is None else read_audit(folder, rows)
    if before is not None:
        return before
    held = None if prepared is None else prepared_in(prepared.work)
    found = audit_rows(rows, held, config, report)
    if folder is not None and len(rows) == len(known):
        write_audit(folder, found)
    return found.as_read()
