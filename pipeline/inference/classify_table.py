"""The `classify` command: classify any files into one table.

Every row goes into a journal as soon as it is ready, so an interrupted run can be resumed.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from data_prep.annotations import webvtt
from data_prep.manifest import ManifestRow
from data_prep.segments import SEGMENTS_NAME
from data_prep.settings import RESULT_LIMITS
from data_prep.status import TRIED_AGAIN, Status
from pipeline.checkpoints.model_card import ModelCard
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.inference.classifier import Classifier
from pipeline.inference.inputs import list_inputs, relative_paths
from pipeline.reporter import ProgressReporter, SilentReporter
from pipeline.storage.journal import Journal
from pipeline.storage.locks import exclusive_lock
from pipeline.storage.predictions import (
    PART_COLUMNS,
    SEGMENT_COLUMNS,
    STEPS_NAME,
    UNSURE,
    WEBVTT_FOLDER,
    WINDOWS_NAME,
    Classes,
    Prediction,
    Probabilities,
    WindowPrediction,
    is_step_table,
    prediction_columns,
    webvtt_names,
    write_predicted_segments,
    write_predictions,
    write_step_probabilities,
    write_webvtt,
    write_windows,
)
from pipeline.tasks.base import Task

_LONGEST_NAME = 200  # characters; journal, lock and temporary file have longer names
_LONGEST_WEBVTT_NAME = 240  # bytes; names may have 255, the temporary file's is longer


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

    Raises UserError if inputs are missing, `out` or an output beside it is not ours, settings
    contradict the model, or the journal belongs to another model.
    """
    progress = progress or SilentReporter()
    _refuse_other_table(out)
    journal_path, lock_path = Path(f"{out}.journal"), out.with_name(f".{out.name}.lock")
    with exclusive_lock(lock_path, out):  # two runs would write one journal
        classifier = Classifier.load(run, config)
        refuse_other_than_card(config, classifier.card, run)
        _refuse_ambiguous(config, classifier.task, classifier.labels)
        _refuse_steps_of_others(config, classifier.task)
        _refuse_other_outputs(out, classifier, config)
        listed = list_inputs(inputs, config.labels)
        for note in listed.notes:
            progress.note(note)
        rows = _without_own(listed.rows, out, journal_path)
        if not rows:
            raise UserError("there is nothing to classify except this command's own table")
        places = relative_paths(inputs, rows) if config.classify.webvtt else {}
        if places:
            _refuse_other_webvtt(out.with_name(WEBVTT_FOLDER), places.values())
        with Journal(journal_path, _header(classifier, config)) as journal:
            done = _known(journal.open(), journal_path, classifier)
            reused = sum(row.id in done for row in rows)
            _classify_rows(classifier, rows, done, journal, progress)
        predictions = [replace(done[row.id], path=row.path, more=_part(row)) for row in rows]
        _write(out, predictions, places, classifier, config)
    by_status = Counter(str(prediction.status) for prediction in predictions)
    n_files = len({row.path for row in rows})
    return ClassifySummary(by_status, reused, n_files, classifier.decode_strategies)


def _write(
    out: Path,
    rows: Sequence[Prediction],
    places: Mapping[str, PurePath],
    classifier: Classifier,
    config: Config,
) -> None:
    """Write the table and the files beside it."""
    task, labels, settings = classifier.task, classifier.labels, config.classify
    # decoded once for all outputs
    rows = [
        row
        if row.probabilities is None or row.classes is not None
        else replace(row, classes=task.decode(row.probabilities))
        for row in rows
    ]
    part_columns = PART_COLUMNS if any(row.more for row in rows) else ()
    write_predictions(
        out, rows, task, labels, classifier.digest, part_columns,
        min_probability=settings.min_probability,
    )  # fmt: skip
    if task.has_segments:
        write_predicted_segments(out.with_name(SEGMENTS_NAME), rows, task, labels)
    if classifier.window_steps is not None:
        write_windows(out.with_name(WINDOWS_NAME), rows, task, labels, settings.min_probability)
    if settings.webvtt:
        write_webvtt(out.with_name(WEBVTT_FOLDER), places, rows, task, labels)
    if settings.step_probabilities:
        write_step_probabilities(
            out.with_name(STEPS_NAME), rows, labels, task.step_s, classifier.digest
        )


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
    task = card.get_task().settings
    for group, settings in (("clip", card.clip), ("model", card.model), ("task", task)):
        for key, value in config.explicit(group).items():
            actual = getattr(settings, key)
            if actual != value:
                raise UserError(
                    f"{group}.{key}={value} contradicts the model in {run}, which was made with "
                    f"{group}.{key}={actual}; leave the key out"
                )


def _refuse_ambiguous(config: Config, task: Task, labels: Sequence[str]) -> None:
    if config.classify.min_probability and not task.per_clip:
        raise UserError(
            "classify.min_probability is for models that label whole clips; this one (task="
            f"{task.name}) writes "
            + ("numbers" if task.settings.target else "its probabilities to be filtered by")
        )
    # its rows could not be distinguished from unsure ones
    if config.classify.min_probability and UNSURE in labels:
        raise UserError(
            f"the model has a label '{UNSURE}', which classify.min_probability writes as well; "
            "leave classify.min_probability out and filter by the column probability instead"
        )


def _refuse_steps_of_others(config: Config, task: Task) -> None:
    """Raise UserError if segments and their steps are requested of a model that has none."""
    asked = [
        f"classify.{key}"
        for key in ("webvtt", "step_probabilities")
        if getattr(config.classify, key)
    ]
    if asked and not task.has_segments:
        raise UserError(
            f"{' and '.join(asked)} {'is' if len(asked) == 1 else 'are'} for models with a label "
            f"for each time step (task=timeline); this one was trained with task={task.name}"
        )


def _without_own(rows: Sequence[ManifestRow], out: Path, journal: Path) -> list[ManifestRow]:
    """The rows without files that classify wrote: `out` may lie in the classified folder."""
    certain = {os.path.realpath(path) for path in (out, journal)}
    # of this run or of one with other options
    tables = {os.path.realpath(out.with_name(name)) for name in _TABLES_BESIDE}
    subtitles = os.path.realpath(out.with_name(WEBVTT_FOLDER)) + os.sep

    def ours(path: str) -> bool:
        real = os.path.realpath(path)
        beside = real in tables or (real.startswith(subtitles) and real.endswith(webvtt.ENDING))
        return real in certain or (beside and Path(real).is_file() and _is_own(Path(real)))

    return [row for row in rows if not ours(row.path)]


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
    if out.exists() and not _begins_with(out, prediction_columns(())[:3]):
        raise UserError(
            f"{out} exists and is not a table written by framewave; choose another --out"
        )


def _refuse_other_outputs(out: Path, classifier: Classifier, config: Config) -> None:
    """Raise UserError if what will be written beside `out` is there and we did not write it.

    Of WebVTT files, only their folder is examined.
    """
    will_write = {
        SEGMENTS_NAME: classifier.task.has_segments,
        WINDOWS_NAME: classifier.window_steps is not None,
        STEPS_NAME: config.classify.step_probabilities,
        WEBVTT_FOLDER: config.classify.webvtt,
    }
    for path in (out.with_name(name) for name, written in will_write.items() if written):
        if path.name == out.name:
            raise UserError(f"classify writes {path} besides the table; choose another --out")
        if path.name == WEBVTT_FOLDER:
            _refuse_file_for_folder(path)
        elif not _may_replace(path):
            raise UserError(_exists_and_is_other(path))


def _refuse_other_webvtt(folder: Path, places: Iterable[PurePath]) -> None:
    """Raise UserError if a WebVTT file in `folder` is there and we did not write it, or could not.

    places: of all inputs, since it is not known yet which of them will have a prediction.
    """
    for parent in {parent for place in places for parent in place.parents}:
        _refuse_file_for_folder(folder / parent)
    for path in (folder / name for place in places for name in webvtt_names(place)):
        if len(os.fsencode(path.name)) > _LONGEST_WEBVTT_NAME:
            raise UserError(
                f"{path.name} is too long for the name of a WebVTT file; rename the input, or "
                "leave classify.webvtt out"
            )
        if not _may_replace(path):
            raise UserError(_exists_and_is_other(path))


def _refuse_file_for_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} exists and is not a folder; choose --out in another folder")


def _exists_and_is_other(path: Path) -> str:
    return (
        f"{path} exists and was not written by framewave classify, which would replace it; move "
        "it, or choose --out in another folder"
    )


_TABLES_BESIDE = (SEGMENTS_NAME, WINDOWS_NAME, STEPS_NAME)


def _may_replace(path: Path) -> bool:
    """Whether nothing has the name of an output beside the table, or a file that we wrote."""
    return not path.exists() or (path.is_file() and _is_own(path))


def _is_own(path: Path) -> bool:
    """Whether we wrote a file with the name of an output beside the table, or it is empty."""
    if not path.stat().st_size:
        return True
    if path.suffix == webvtt.ENDING:
        return webvtt.is_own(path)
    if path.name == STEPS_NAME:
        return is_step_table(path)
    return _begins_with(path, SEGMENT_COLUMNS[:4])  # of windows.csv too


def _begins_with(path: Path, columns: Sequence[str]) -> bool:
    """Whether a table has these first columns; those that follow differ between models. An empty
    file has them: it may be overwritten."""
    header = ",".join(columns).encode()
    with path.open("rb") as file:
        return file.read(len(header)) in (header, b"")


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
