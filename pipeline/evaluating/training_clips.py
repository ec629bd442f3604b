"""The clips that a run was trained on, where they are at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow
from data_prep.status import DataSetError
from pipeline.auditing.recordings import contents, disjoint
from pipeline.checkpoints.card import read_description
from pipeline.errors import UserError
from pipeline.records.run_record import RunRecord, read_run_record
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

    def seen_before(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
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
