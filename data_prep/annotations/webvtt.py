"""WebVTT: cues as labelled segments, read and written.

As a label format it is a folder with a WebVTT file beside each video.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape, unescape
from pathlib import Path

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from data_prep.annotations.listing import Listing
from data_prep.annotations.paths import walk
from data_prep.annotations.segments import merge_segments
from data_prep.annotations.table import parse_time_s
from data_prep.manifest import ManifestRow, normalise_label
from data_prep.segments import LabelledSegment
from data_prep.settings import LabelSettings, TaskSettings
from data_prep.status import DataSetError

ENDING = ".vtt"
_OWN_START = "WEBVTT\n\nNOTE framewave\n"


def reads(path: Path) -> bool:
    """Whether a folder holds WebVTT files."""
    return path.is_dir() and any(file.suffix.lower() == ENDING for file in walk(path))


def read_in_time(path: Path, settings: LabelSettings, in_time: TaskSettings) -> Listing:
    """A row for every file below the folder, with the segments of its cues.

    A file without a WebVTT file has no label. One whose WebVTT file has no cue is background as a
    whole. Raises DataSetError, naming file and cue.
    """
    if settings.annotator or settings.annotator_column:
        raise DataSetError(
            "labels.annotator and labels.annotator_column are for tables; a WebVTT file has no "
            "annotators"
        )
    found = list(walk(path))
    files = [file for file in found if file.suffix.lower() != ENDING]
    cues_of = {file.with_suffix(""): file for file in found if file.suffix.lower() == ENDING}
    rows, notes = [], []
    for file in files:
        captions = cues_of.get(file.with_suffix(""))
        if captions is None:
            rows.append(ManifestRow(str(file)))
            continue
        cues = [(n, _row(file, captions, n, cue)) for n, cue in enumerate(_cues(captions), 1)]
        if not cues:
            rows.append(ManifestRow(str(file), label=in_time.background))
            continue
        merged, merge_notes = merge_segments(captions, cues, in_time, unit="cue")
        rows += merged
        notes += merge_notes
    return Listing(rows, notes)


def _cues(file: Path) -> list[webvtt.Caption]:
    try:
        captions: list[webvtt.Caption] = webvtt.read(str(file)).captions
    except (MalformedFileError, MalformedCaptionError, UnicodeDecodeError, OSError) as error:
        raise DataSetError(f"{file} is not a readable WebVTT file: {error}") from error
    return captions


def _row(video: Path, file: Path, number: int, cue: webvtt.Caption) -> ManifestRow:
    try:
        # not start_in_seconds, which drops the fraction
        start_s, end_s = parse_time_s(cue.start), parse_time_s(cue.end)
    except ValueError as error:
        raise DataSetError(f"{file}, cue {number}: {error}") from error
    if start_s is None or end_s is None or end_s < start_s:
        raise DataSetError(f"{file}, cue {number}: {cue.end} must not be before {cue.start}")
    label = normalise_label(unescape(cue.text))
    if not label:
        raise DataSetError(f"{file}, cue {number} has no text")
    return ManifestRow(str(video), start_s, end_s, label)


def webvtt_text(segments: Iterable[LabelledSegment]) -> str:
    """The text of a WebVTT file with a cue for each segment, in order of time.

    Times are rounded to milliseconds; a segment that is then empty has no cue.
    """
    blocks = [_OWN_START]
    for segment in sorted(segments):
        start, end = _timestamp(segment.start_s), _timestamp(segment.end_s)
        if start != end:
            # an empty line would end the cue; escaping makes "-->" safe too
            text = escape(" ".join(segment.label.split()), quote=False)
            blocks.append(f"{start} --> {end}\n{text}\n")
    return "\n".join(blocks)


def is_own(file: Path) -> bool:
    """Whether `webvtt_text` made a file, judging by its first lines."""
    with file.open("rb") as opened:
        return opened.read(len(_OWN_START)) == _OWN_START.encode()


def _timestamp(time_s: float) -> str:
    seconds, _, milliseconds = f"{time_s:.3f}".partition(".")
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}.{milliseconds}"
