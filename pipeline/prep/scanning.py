"""Scanning with decoding processes, and what scanning says about the work ahead."""

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
from pipeline.storage.workspace import Workspace
from pipeline.text_format import counted

UNKNOWN_DURATION_S = 10.0
"""Taken for files that do not say how long they are, for planning only."""


PROBES_NAME = "scan.journal"


def probe_files(
    paths: Sequence[str],
    config: Config,
    progress: ProgressReporter,
    journal_path: Path | None = None,
) -> Iterator[MediaInfo | Failure]:
    """What is in each file, in order; a file that kills its decoder costs only its own row.

    With a journal, files that a run looked into before it was killed are not opened again.
    """
    with ExitStack() as stack:
        known: dict[str, MediaInfo | Failure] = {}
        journal = None
        if journal_path is not None:
            journal = stack.enter_context(_probe_journal(journal_path, config))
            known = _known_answers(journal.open())
        ids = {path: with_file_facts(ManifestRow(path=path)).id for path in paths}
        todo = [path for path in paths if ids[path] not in known]
        progress.start("looking into files", len(paths), len(paths) - len(todo))
        pool = stack.enter_context(DecodePool(config.classify.workers))
        raw_hz = config.clip.raw_frame_rate_hz
        fresh = pool.run(
            ProbeJob(path, config.limits, raw_hz, config.clip.highest_hz) for path in todo
        )
        for path in paths:
            answer = known.get(ids[path])
            if answer is None:
                _, message = next(fresh)
                assert isinstance(message, MediaInfo | Failure)
                answer = message
                if journal is not None:
                    journal.add({"id": ids[path], **_answer_entry(answer)})
                progress.advance(1, failed=_is_failure(answer))
            yield answer
        progress.finish()


def _is_failure(answer: MediaInfo | Failure) -> bool:
    """A table or text among the files is passed over, which is no failure."""
    return isinstance(answer, Failure) and answer.status is not Status.NOT_MEDIA


def _probe_journal(path: Path, config: Config) -> Journal:
    limits = config.limits.model_dump(mode="json")
    header = {
        "scan": 3,
        "raw_frame_rate_hz": config.clip.raw_frame_rate_hz,
        "kept_hz": config.clip.highest_hz,
        "limits": {key: limits[key] for key in sorted(RESULT_LIMITS)},
    }
    journal = Journal(path, header)
    try:
        with journal:
            journal.open()
    except OtherJournalError:
        path.unlink()  # other limits: what it says does not hold any more
    return Journal(path, header)


def _answer_entry(answer: MediaInfo | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"failure": [str(answer.status), answer.reason]}
    values = asdict(answer) | {"pixel_aspect": str(answer.pixel_aspect)}
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
        if not (isinstance(answer, Failure) and answer.status in TRIED_AGAIN)
    }


def scan_data(data: Path, work: Path, config: Config, progress: ProgressReporter) -> Scan:
    """Scan a data set into work/manifest.csv. Raises DataSetError and UserError.

    In a folder that was prepared, clips are looked at as its settings have them.
    """
    record = Workspace(work).read_record()
    if record is not None:
        config = config.model_copy(update={"clip": record.clip})
    journal = work / PROBES_NAME
    result = scan(
        data, work, config.split, config.limits,
        lambda paths: probe_files(paths, config, progress, journal),
        config.labels,
        config.clip.highest_hz,
    )  # fmt: skip
    journal.unlink(missing_ok=True)  # the manifest holds it all now
    where = "" if record is None else ", in another work folder,"
    for note in [*result.notes, *clip_notes(result.rows, config.clip, where)]:
        progress.note(note)
    return result


def with_frame_rate(clip: ClipSettings, rows: Iterable[ManifestRow]) -> ClipSettings:
    """With a frame rate that suits the usable clips, where it is auto."""
    return clip.with_frame_rate(_lengths_s(rows))


def _lengths_s(rows: Iterable[ManifestRow]) -> list[float]:
    known = (row.planned_duration_s for row in rows if row.trainable)
    return sorted(length_s for length_s in known if length_s is not None)


def clip_notes(rows: Sequence[ManifestRow], clip: ClipSettings, where: str = "") -> list[str]:
    """What is to be said where clips are too short for the time steps, or their sound too high.

    where: what is said of the place in which other settings can be used.
    """
    usable = [row for row in rows if row.trainable]
    notes = []
    high = [row for row in usable if _ABOVE in row.error]
    if high:
        notes.append(
            f"{len(high)} of {counted(len(usable), 'clip')} (for example {high[0].path}) hold most "
            f"of their sound above {clip.highest_hz / 1000:g} kHz, which clips do not keep: a "
            "larger clip.audio_rate_hz keeps it, clip.time_expansion=10 brings it down"
        )
    lengths_s = _lengths_s(usable)
    if not lengths_s:
        return notes
    middle_s = lengths_s[len(lengths_s) // 2]
    rate_hz = clip.rate_for(lengths_s)
    steps = max(1, round(middle_s * clip.time_expansion * rate_hz))
    if clip.frame_rate_hz == "auto":
        if rate_hz > 1:
            notes.append(
                f"half of the clips last {middle_s:.2g} s or less: clip.frame_rate_hz={rate_hz:g} "
                f"is taken (auto), with which the others have {steps} steps or more"
            )
    elif middle_s * clip.file_frame_rate_hz < 2 and rate_hz > clip.step_rate_hz:
        notes.append(
            f"half of the clips last {middle_s:.2g} s or less, so at clip.frame_rate_hz="
            f"{clip.frame_rate_hz:g} most have one time step; with clip.frame_rate_hz="
            f"{rate_hz:g}{where} half of them have {steps} or more (clip.frame_rate_hz=auto "
            "chooses it)"
        )
    return notes


_ABOVE = "of the energy of its sound lies above"


def estimate_bytes(rows: Iterable[ManifestRow], clip: ClipSettings, max_duration_s: float) -> int:
    """Disk that prep will need, from measured sizes of JPEG frames (about 0.7 byte per pixel)."""
    side_px = clip.frame_size_px or 0
    picture, features = 0.7 * side_px**2, 6000
    sound = 2 * clip.samples_per_step
    total = 0.0
    for row in rows:
        if row.trainable:
            steps = clip.file_frame_rate_hz * min(
                row.planned_duration_s or UNKNOWN_DURATION_S, max_duration_s
            )
            total += steps * (features + picture * (row.has_video is not False)
                              + sound * (row.has_audio is not False))  # fmt: skip
    return int(total)
