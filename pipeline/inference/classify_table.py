"""The `classify` command: classify any files into one table.

Every row goes into a journal as soon as it is ready, so an interrupted run can be resumed.
"""

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
from data_prep.segments import SEGMENTS_NAME
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
    UNSURE,
    WINDOWS_NAME,
    Classes,
    Prediction,
    Probabilities,
    WindowPrediction,
    prediction_columns,
    write_predicted_segments,
    write_predictions,
    write_windows,
)

_LONGEST_NAME = 200  # characters; journal, lock and temporary file have longer names


@dataclass(frozen=True)
class ClassifySummary:
    """The result of classify: rows by status, and rows reused from an earlier run."""

    by_status: Counter[str]
    reused: int
    n_files: int
    """Smaller than the number of rows if a table lists parts of files."""
    decode_strategies: Counter[str]
    """How the frames of the new files were read, {strategy: files}."""


def classify(
    inputs: Sequence[Path],
    run: Path,
    out: Path,
    config: Config,
    progress: ProgressReporter | None = None,
) -> ClassifySummary:
    """Classify inputs into the table `out`; the same call resumes an interrupted one.

    Raises UserError if inputs are missing, `out` is not ours, settings contradict the model, or
    the journal belongs to another model.
    """
    progress = progress or SilentReporter()
    _refuse_other_table(out)
    journal_path, lock_path = Path(f"{out}.journal"), out.with_name(f".{out.name}.lock")
    with exclusive_lock(lock_path, out):  # two runs would write one journal
        classifier = Classifier.load(run, config)
        refuse_other_than_card(config, classifier.card, run)
        _refuse_ambiguous(config, classifier.labels)
        # the table may lie in the folder that is classified
        has_windows = classifier.window_steps is not None
        beside = [out.with_name(SEGMENTS_NAME)] if classifier.task.in_time else []
        beside += [out.with_name(WINDOWS_NAME)] if has_windows else []
        own_files = {os.path.realpath(path) for path in (out, journal_path, *beside)}
        listed = list_inputs(inputs, config.labels)
        for note in listed.notes:
            progress.note(note)
        rows = [row for row in listed.rows if os.path.realpath(row.path) not in own_files]
        if not rows:
            raise UserError("there is nothing to classify except this command's own table")
        with Journal(journal_path, _header(classifier, config)) as journal:
            done = _known(journal.open(), journal_path, classifier)
            reused = sum(row.id in done for row in rows)
            _classify_rows(classifier, rows, done, journal, progress)
        predictions = [replace(done[row.id], path=row.path, more=_part(row)) for row in rows]
        part_columns = PART_COLUMNS if any(prediction.more for prediction in predictions) else ()
        write_predictions(
            out, predictions, classifier.task, classifier.labels, classifier.digest, part_columns,
            min_probability=config.classify.min_probability,
        )  # fmt: skip
        write_predicted_segments(
            out.with_name(SEGMENTS_NAME), predictions, classifier.task, classifier.labels
        )
        if has_windows:
            write_windows(
                out.with_name(WINDOWS_NAME), predictions, classifier.task, classifier.labels,
                config.classify.min_probability,
            )  # fmt: skip
    by_status = Counter(str(prediction.status) for prediction in predictions)
    n_files = len({row.path for row in rows})
    return ClassifySummary(by_status, reused, n_files, classifier.decode_strategies)


def _part(row: ManifestRow) -> dict[str, str]:
    """start_s and end_s as cells if the row is a part of a file; empty for a whole file."""
    times = {"start_s": row.start_s, "end_s": row.end_s}
    return {
        name: f"{time_s:.6f}".rstrip("0").rstrip(".")  # whole numbers without decimals
        for name, time_s in times.items()
        if time_s is not None
    }


def refuse_other_than_card(config: Config, card: ModelCard, run: Path) -> None:
    """Raise UserError if given clip or model settings differ from the model's own."""
    for group, settings in (("clip", card.clip), ("model", card.model)):
        for key, value in config.explicit(group).items():
            actual = getattr(settings, key)
            if actual != value:
                raise UserError(
                    f"{group}.{key}={value} contradicts the model in {run}, which was made with "
                    f"{group}.{key}={actual}; leave the key out"
                )


def _refuse_ambiguous(config: Config, labels: Sequence[str]) -> None:
    # its rows could not be distinguished from unsure ones
    if config.classify.min_probability and UNSURE in labels:
        raise UserError(
            f"the model has a label '{UNSURE}', which classify.min_probability writes as well; "
            "leave classify.min_probability out and filter by the column probability instead"
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
        progress.note(f"{len(rows) - len(todo)} files were classified before, {len(todo)} are left")
    progress.start("classifying", len(rows), len(rows) - len(todo))
    # bytes left, for the estimate of time
    progress.expect(sum(row.size_bytes or 0 for row in todo))

    def count_media(media_s: float) -> None:
        progress.advance(0, media_s=media_s)  # seconds come chunk by chunk, files at their end

    if todo and classifier.backend_note:
        progress.note(classifier.backend_note)
    for row, prediction in classifier.stream(todo, count_media):
        journal.add(_entry(row.id, prediction))
        done[row.id] = prediction
        # skipping a table or text among the files is not a failure
        failed = not prediction.status.usable and prediction.status is not Status.NOT_MEDIA
        progress.advance(1, failed=failed, size_bytes=row.size_bytes or 0)
    progress.finish()


def _refuse_other_table(out: Path) -> None:
    """Raise UserError if `out` is a folder, or a file that we did not write."""
    if len(out.name) > _LONGEST_NAME:
        raise UserError(f"--out: a name of {len(out.name)} characters is too long for a table")
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out names the table to write")
    if not out.exists():
        return
    with out.open("rb") as file:
        start = file.read(64)
    # the columns that follow differ between models
    our_header = ",".join(prediction_columns(())[:3]).encode()
    if start and not start.startswith(our_header):  # an empty file may be overwritten
        raise UserError(
            f"{out} exists and is not a table written by framewave; choose another --out"
        )


def _header(classifier: Classifier, config: Config) -> dict[str, Any]:
    """Everything that a row's numbers depend on besides the file; a journal must match it."""
    limits = classifier.limits.model_dump(mode="json")  # with the model's max_duration_s filled in
    return {
        "model": classifier.digest,
        "limits": {key: limits[key] for key in sorted(RESULT_LIMITS)},
        "backend": str(classifier.backend),
        "frame_batch": config.classify.frame_batch,
    } | ({} if classifier.window_steps is None else {"windows": list(classifier.window_steps)})


def _known(
    entries: list[dict[str, Any]], journal_path: Path, classifier: Classifier
) -> dict[str, Prediction]:
    """{row id: prediction} of an earlier run, without rows whose status is retried."""
    known: dict[str, Prediction] = {}
    for number, entry in enumerate(entries, 2):  # line 1 is the header
        try:
            known[str(entry["id"])] = _from_entry(
                entry, len(classifier.labels), classifier.task.per_clip
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(
                f"{journal_path}, line {number} is not a row of this model ({error}); delete the "
                "journal to start again"
            ) from error
    return {key: row for key, row in known.items() if row.status not in TRIED_AGAIN}


def _entry(clip_id: str, prediction: Prediction) -> dict[str, Any]:
    probabilities = prediction.probabilities
    return {
        "id": clip_id,
        "path": prediction.path,
        "status": str(prediction.status),
        "error": prediction.error,
        "probabilities": None if probabilities is None else probabilities.tolist(),
        "has_video": prediction.has_video,
        "has_audio": prediction.has_audio,
        "duration_s": prediction.duration_s,
        "classes": None if prediction.classes is None else prediction.classes.tolist(),
        "windows": [[w.start_s, w.end_s, w.probabilities.tolist()] for w in prediction.windows],
    }


def _from_entry(entry: dict[str, Any], n_labels: int, per_clip: bool) -> Prediction:
    probabilities = None
    if entry["probabilities"] is not None:
        probabilities = _probabilities_of(entry["probabilities"], n_labels, 1 if per_clip else 2)
    windows = tuple(
        WindowPrediction(float(start_s), float(end_s), _probabilities_of(values, n_labels, 1))
        for start_s, end_s, values in entry.get("windows", [])
    )
    duration_s = None if entry["duration_s"] is None else float(entry["duration_s"])
    if duration_s is not None and not math.isfinite(duration_s):
        raise ValueError("duration_s")
    return Prediction(
        str(entry["path"]), Status(entry["status"]), str(entry["error"]), probabilities,
        _flag(entry["has_video"]), _flag(entry["has_audio"]), duration_s, windows=windows,
        classes=_classes_of(entry.get("classes"), probabilities),
    )  # fmt: skip


def _probabilities_of(values: object, n_labels: int, n_axes: int) -> Probabilities:
    """Probabilities of a journal. Raises ValueError if they are not ones of this model."""
    probabilities = np.array(values, np.float64)
    in_range = bool(((probabilities >= 0) & (probabilities <= 1)).all())
    is_shaped = probabilities.ndim == n_axes and probabilities.shape[-1] == n_labels
    # rounding allowed; anything else is damage or another model
    if not is_shaped or not in_range or (abs(probabilities.sum(axis=-1) - 1) > 0.001).any():
        raise ValueError(f"{probabilities.size} probabilities for {n_labels} labels")
    return probabilities


def _classes_of(values: object, probabilities: Probabilities | None) -> Classes | None:
    """Classes of a journal. Raises ValueError if they are not ones of these probabilities."""
    if values is None:
        return None
    classes = np.array(values, np.int64)
    if probabilities is None or classes.shape != probabilities.shape[:-1]:
        raise ValueError(f"{classes.size} classes")
    if classes.size and not 0 <= classes.min() <= classes.max() < probabilities.shape[-1]:
        raise ValueError("a class that the model does not have")
    return classes


def _flag(value: object) -> bool | None:
    return None if value is None else bool(value)
