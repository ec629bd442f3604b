"""The clips that a run was trained on, where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.status import DataSetError
from pipeline.errors import UserError
from pipeline.records.run_record import read_run_record
from pipeline.training.training_data import PreparedData, open_prepared


@dataclass(frozen=True)
class TrainingClips:
    """The work folder that a run was trained on."""

    prepared: PreparedData | None
    missing: str = ""
    """Why it cannot be used, where it cannot."""
    crossval: bool = False
    """Whether the run is a crossval's, whose model was trained on all clips."""

    @property
    def trained_on(self) -> PreparedData | None:
        """With splits as training had them: a crossval went by none."""
        if self.prepared is None or not self.crossval:
            return self.prepared
        return self.prepared.whole


def training_clips(run: Path) -> TrainingClips:
    """Those of a run. Raises UserError where its run.json is damaged."""
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
