"""The command `classify`: any files into one table, written as it goes and continued."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.manifest import ManifestRow
from data_prep.settings import RESULT_LIMITS
from data_prep.status import TRIED_AGAIN, Status
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.inference.classifier import Classifier
from pipeline.inference.inputs import list_inputs
from pipeline.reporter import ProgressReporter, SilentReporter
from pipeline.storage.journal import Journal
from pipeline.storage.locks import exclusive_lock
from pipeline.storage.predictions import (
    PART_COLUMNS,
    Prediction,
    prediction_columns,
    write_predictions,
)
from pipeline.tasks.clip_label import UNSURE

_LONGEST_NAME = 200  # names of journal, lock and temporary file are made of it


@dataclass(frozen=True)
class ClassifySummary:
    """What classify did: rows by status, and how many were taken from an earlier run."""

    by_status: Counter[str]
    reused: int
    n_files: int
    """Fewer than there are rows where a table names parts of files."""
    decode_strategies: Counter[str]
    """How the frames of the new files were read."""


def classify(
    inputs: Sequence[Path],
    run: Path,
    out: Path,
    config: Config,
    progress: ProgressReporter | None = None,
) -> ClassifySummary:
    """Classify into a table, written as it goes and continued by the same command.

    Raises UserError.
    """
    progress = progress or SilentReporter()
    _refuse_other_table(out)
    journal_path, lock_path = Path(f"{out}.journal"), out.with_name(f".{out.name}.lock")
    with exclusive_lock(lock_path, out):
        classifier = Classifier.load(run, config)
        refuse_other_than_card(config, classifier.card, run)
        _refuse_ambiguous(config, classifier.labels)
        own = {os.path.realpath(path) for path in (out, journal_path)}
        listed = list_inputs(inputs, config.labels)
        for note in listed.notes:
            progress.note(note)
        rows = [row for row in listed.rows if os.path.realpath(row.path) not in own]
        if not rows:
            raise UserError("there is nothing to classify but this command's own table")
        with Journal(journal_path, _header(classifier, config)) as journal:
            done = _known(journal.open(), journal_path, classifier)
            reused = sum(row.id in done for row in rows)
            _classify_rows(classifier, rows, done, journal, progress)
        predictions = [replace(done[row.id], path=row.path, more=_part(row)) for row in rows]
        parts = PART_COLUMNS if any(prediction.more for prediction in predictions) else ()
        write_predictions(
            out, predictions, classifier.task, classifier.labels, classifier.digest, parts,
            min_probability=config.classify.min_probability,
        )  # fmt: skip
    by_status = Counter(str(prediction.status) for prediction in predictions)
    n_files = len({row.path for row in rows})
    return ClassifySummary(by_status, reused, n_files, classifier.decode_strategies)


def _part(row: ManifestRow) -> dict[str, str]:
    """The cells of a labelled part's row; none for a whole file."""
    times = {"start_s": row.start_s, "end_s": row.end_s}
    return {
        name: f"{time_s:.6f}".rstrip("0").rstrip(".")
        for name, time_s in times.items()
        if time_s is not None
    }


def refuse_other_than_card(config: Config, card: ModelCard, run: Path) -> None:
    """Raise UserError where clip or model settings are asked for that are not the model's own."""
    for group, own in (("clip", card.clip), ("model", card.model)):
        for key, value in config.explicit(group).items():
            have = getattr(own, key)
            if have != value:
                raise UserError(
                    f"{group}.{key}={value} contradicts the model in {run}, which was made with "
                    f"{group}.{key}={have}; leave the key out"
                )


def _refuse_ambiguous(config: Config, labels: Sequence[str]) -> None:
    if config.classify.min_probability and UNSURE in labels:
        raise UserError(
            f"the model has a label '{UNSURE}', which is what classify.min_probability writes; "
            "leave classify.min_probability out, and choose by the column probability"
        )


def _classify_rows(
    classifier: Classifier,
    rows: list[ManifestRow],
    done: dict[str, Prediction],
    journal: Journal,
    progress: ProgressReporter,
) -> None:
    todo = [row for row in rows if row.id not in done]
    if todo and len(todo) < len(rows):
        progress.note(f"{len(rows) - len(todo)} files were classified before; {len(todo)} to go")
    progress.start("classifying", len(rows), len(rows) - len(todo))
    progress.expect(sum(row.size_bytes or 0 for row in todo))

    def count_media(media_s: float) -> None:
        progress.advance(0, media_s=media_s)

    if todo and classifier.backend_note:
        progress.note(classifier.backend_note)
    for row, prediction in classifier.stream(todo, count_media):
        journal.add(_entry(row.id, prediction))
        done[row.id] = prediction
        # a table or text among the files is passed over, which is no failure
        failed = not prediction.status.usable and prediction.status is not Status.NOT_MEDIA
        progress.advance(1, failed=failed, size_bytes=row.size_bytes or 0)
    progress.finish()


def _refuse_other_table(out: Path) -> None:
    """A file that is no table of ours is somebody's; it is not overwritten."""
    if len(out.name) > _LONGEST_NAME:
        raise UserError(f"--out: a name of {len(out.name)} characters is too long for a table")
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out names the table to write")
    if not out.exists():
        return
    with out.open("rb") as file:
        begin = file.read(64)
    ours = ",".join(prediction_columns(())[:3]).encode()
    if begin and not begin.startswith(ours):
        raise UserError(f"{out} exists and is no table of framewave; choose another --out")


def _header(classifier: Classifier, config: Config) -> dict[str, Any]:
    """What a row's numbers depend on besides the file."""
    limits = classifier.limits.model_dump(mode="json")
    return {
        "model": classifier.digest,
        "limits": {key: limits[key] for key in sorted(RESULT_LIMITS)},
        "backend": str(classifier.backend),
        "frame_batch": config.classify.frame_batch,
    }


def _known(
    entries: list[dict[str, Any]], journal_path: Path, classifier: Classifier
) -> dict[str, Prediction]:
    """Rows made before, by id, without those that are tried again."""
    known: dict[str, Prediction] = {}
    for number, entry in enumerate(entries, 2):
        try:
            known[str(entry["id"])] = _from_entry(
                entry, len(classifier.labels), classifier.task.per_clip
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(
                f"{journal_path}, line {number} is no row of this model ({error}); delete the "
                "journal to classify anew"
            ) from error
    return {key: row for key, row in known.items() if row.status not in TRIED_AGAIN}


def _entry(clip_id: str, prediction: Prediction) -> dict[str, Any]:
    chances = prediction.probabilities
    return {
        "id": clip_id,
        "path": prediction.path,
        "status": str(prediction.status),
        "error": prediction.error,
        "probabilities": None if chances is None else chances.tolist(),
        "has_video": prediction.has_video,
        "has_audio": prediction.has_audio,
        "duration_s": prediction.duration_s,
    }


def _from_entry(entry: dict[str, Any], n_labels: int, per_clip: bool) -> Prediction:
    chances = entry["probabilities"]
    if chances is not None:
        chances = np.array(chances, np.float64)
        in_range = bool(((chances >= 0) & (chances <= 1)).all())
        is_shaped = chances.ndim == (1 if per_clip else 2) and chances.shape[-1] == n_labels
        if not is_shaped or not in_range or (abs(chances.sum(axis=-1) - 1) > 0.001).any():
            raise ValueError(f"{chances.size} probabilities for {n_labels} labels")
    duration_s = None if entry["duration_s"] is None else float(entry["duration_s"])
    if duration_s is not None and not math.isfinite(duration_s):
        raise ValueError("duration_s")
    return Prediction(
        str(entry["path"]), Status(entry["status"]), str(entry["error"]), chances,
        _flag(entry["has_video"]), _flag(entry["has_audio"]), duration_s,
    )  # fmt: skip


def _flag(value: object) -> bool | None:
    return None if value is None else bool(value)
