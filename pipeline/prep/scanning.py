"""Scan a data set in decoding processes, and estimate the work of prep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from data_prep.dataset.scan import Scan, scan
from data_prep.manifest import ManifestRow, with_file_facts
from data_prep.media.probe import MediaInfo
from data_prep.settings import RESULT_LIMITS, ClipSettings
from data_prep.status import TRIED_AGAIN, Status
from data_prep.worker.protocol import Failure, ProbeJob
from pipeline.config import Config
from pipeline.features.decode_pool import DecodePool
from pipeline.reporter import ProgressReporter
from pipeline.storage.journal import Journal, OtherJournalError
from pipeline.storage.workspace import Workspace, with_task
from pipeline.tasks import get_task
from pipeline.tasks.base import Task
from pipeline.text_format import counted

UNKNOWN_DURATION_S = 10.0  # assumed for files without a declared length, for estimates only


PROBES_NAME = "scan.journal"


def probe_files(
    paths: Sequence[str],
    config: Config,
    progress: ProgressReporter,
    journal_path: Path | None = None,
) -> Iterator[MediaInfo | Failure]:
    """Probe each file, in order: its streams, or why it has none.

    A file that crashes its decoder affects only its own row. With a journal, files that an
    interrupted run has probed are not opened again.
    """
    with ExitStack() as stack:
        answers: dict[str, MediaInfo | Failure] = {}
        journal = None
        if journal_path is not None:
            journal = stack.enter_context(_probe_journal(journal_path, config))
            answers = _known_answers(journal.open())
        # an id contains size and time: a changed file is probed again
        ids = {path: with_file_facts(ManifestRow(path=path)).id for path in paths}
        pending = [path for path in paths if ids[path] not in answers]
        progress.start("probing files", len(paths), len(paths) - len(pending))
        pool = stack.enter_context(DecodePool(config.classify.workers))
        raw_rate_hz = config.clip.raw_frame_rate_hz
        new_answers = pool.run(
            ProbeJob(path, config.limits, raw_rate_hz, config.clip.highest_hz) for path in pending
        )
        for path in paths:
            answer = answers.get(ids[path])
            if answer is None:
                _, message = next(new_answers)
                assert isinstance(message, MediaInfo | Failure)  # the only answers to a probe
                answer = message
                if journal is not None:
                    journal.add({"id": ids[path], **_answer_entry(answer)})
                progress.advance(1, failed=_is_failure(answer))
            yield answer
        progress.finish()


def _is_failure(answer: MediaInfo | Failure) -> bool:
    """Whether the file failed; skipping a table or text among the files is not a failure."""
    return isinstance(answer, Failure) and answer.status is not Status.NOT_MEDIA


def _probe_journal(path: Path, config: Config) -> Journal:
    limits = config.limits.model_dump(mode="json")
    header = {
        "scan": 4,  # version of the answers' format
        "raw_frame_rate_hz": config.clip.raw_frame_rate_hz,
        "kept_hz": config.clip.highest_hz,
        "limits": {key: limits[key] for key in sorted(RESULT_LIMITS)},
    }
    journal = Journal(path, header)
    try:
        with journal:  # opened and closed once, to see whether it is still valid
            journal.open()
    except OtherJournalError:
        path.unlink()  # made with other limits, so its answers are outdated
    return Journal(path, header)


def _answer_entry(answer: MediaInfo | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"failure": [str(answer.status), answer.reason]}
    values = asdict(answer) | {"pixel_aspect": str(answer.pixel_aspect)}  # JSON has no fractions
    return {"info": values}


def _known_answers(entries: Iterable[dict[str, Any]]) -> dict[str, MediaInfo | Failure]:
    known: dict[str, MediaInfo | Failure] = {}
    for entry in entries:
        if "failure" in entry:
            status, reason = entry["failure"]
            known[entry["id"]] = Failure(Status(status), reason)
        else:
            values = entry["info"] | {
                "pixel_aspect": Fraction(entry["info"]["pixel_aspect"]),
                "remarks": tuple(entry["info"]["remarks"]),
            }
            known[entry["id"]] = MediaInfo(**values)
    return {
        key: answer
        for key, answer in known.items()
        # a crash or timeout may not happen again
        if not (isinstance(answer, Failure) and answer.status in TRIED_AGAIN)
    }


def scan_data(data: Path, work: Path, config: Config, progress: ProgressReporter) -> Scan:
    """Scan a data set and write work/manifest.csv. Raises DataSetError and UserError.

    In a prepared work folder the clip settings of prep are used, not those of `config`.
    """
    record = Workspace(work).read_record()
    if record is not None:
        # a prepared folder keeps its settings
        config = with_task(config, record, work).model_copy(update={"clip": record.clip})
    journal, task = work / PROBES_NAME, get_task(config.task)
    task.check_settings(config.clip, config.model)
    result = scan(
        data, work, config.split, config.limits,
        lambda paths: probe_files(paths, config, progress, journal),
        config.labels,
        config.clip.highest_hz,
        task.row_labels,
        config.task if task.in_time else None,
    )  # fmt: skip
    journal.unlink(missing_ok=True)  # the manifest holds everything now
    where = "" if record is None else ", in another work folder,"
    for note in [*result.notes, *clip_notes(result, config.clip, where)]:
        progress.note(note)
    return result


def task_of(work: Path, config: Config) -> Task:
    """The task that a folder is prepared for. Raises UserError if config names another one."""
    record = Workspace(work).read_record()
    return get_task((config if record is None else with_task(config, record, work)).task)


def with_frame_rate(clip: ClipSettings, rows: Iterable[ManifestRow]) -> ClipSettings:
    """The settings with frame_rate_hz=auto replaced by a rate that suits the usable clips."""
    return clip.with_frame_rate(_lengths_s(rows))


def _lengths_s(rows: Iterable[ManifestRow]) -> list[float]:
    known = (row.planned_duration_s for row in rows if row.trainable)
    return sorted(length_s for length_s in known if length_s is not None)


def clip_notes(found: Scan, clip: ClipSettings, where: str = "") -> list[str]:
    """Notes on clips that are too short for the time steps, or whose sound is too high-pitched.

    where: inserted into the advice, for example that it needs another work folder.
    """
    usable = [row for row in found.rows if row.trainable]
    notes = []
    high_pitched = [row for row in usable if row.path in found.energy_above]
    if high_pitched:
        notes.append(
            f"{len(high_pitched)} of {counted(len(usable), 'clip')} (for example "
            f"{high_pitched[0].path}) have most of their sound above "
            f"{clip.highest_hz / 1000:g} kHz, which is lost: a larger clip.audio_rate_hz keeps it, "
            "clip.time_expansion=10 shifts it down"
        )
    lengths_s = _lengths_s(usable)
    if not lengths_s:
        return notes
    median_s = lengths_s[len(lengths_s) // 2]
    rate_hz = clip.rate_for(lengths_s)
    steps = max(1, round(median_s * clip.time_expansion * rate_hz))  # steps of the median clip
    if clip.frame_rate_hz == "auto":
        if rate_hz > 1:  # 1 Hz is the default, nothing to report
            notes.append(
                f"half of the clips last {median_s:.2g} s or less: clip.frame_rate_hz={rate_hz:g} "
                f"is used (auto), which gives the others {steps} steps or more"
            )
    elif median_s * clip.file_frame_rate_hz < 2 and rate_hz > clip.step_rate_hz:
        notes.append(
            f"half of the clips last {median_s:.2g} s or less, so at clip.frame_rate_hz="
            f"{clip.frame_rate_hz:g} most have one time step; with clip.frame_rate_hz="
            f"{rate_hz:g}{where} half of them have {steps} or more (clip.frame_rate_hz=auto "
            "chooses it)"
        )
    return notes


def estimate_bytes(rows: Iterable[ManifestRow], clip: ClipSettings, max_duration_s: float) -> int:
    """Bytes that prep will write, estimated from measured JPEG sizes (about 0.7 byte per pixel)."""
    side_px = clip.frame_size_px or 0
    frame_bytes, feature_bytes = 0.7 * side_px**2, 6000  # bytes per step
    sound_bytes = 2 * clip.samples_per_step  # int16 samples
    total = 0.0
    for row in rows:
        if row.trainable:
            steps = clip.file_frame_rate_hz * min(
                row.planned_duration_s or UNKNOWN_DURATION_S, max_duration_s
            )
            # unknown counts as yes
            total += steps * (feature_bytes + frame_bytes * (row.has_video is not False)
                              + sound_bytes * (row.has_audio is not False))  # fmt: skip
    return int(total)
