"""WebVTT: cues as labelled segments, read and written.

As a label format it is a folder with a WebVTT file beside each video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
from data_prep.status import DataSetError, counted

ENDING = ".vtt"
_TIME = r"(?:\d+:)?\d{1,2}:\d{1,2}\.\d{1,3}"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(\s|$)")
_NO_CUES = ("NOTE", "STYLE", "REGION")  # first words of other blocks
_OWN_START = "WEBVTT\n\nNOTE framewave\n"


def reads(path: Path) -> bool:
    """Whether a folder holds WebVTT files."""
    return path.is_dir() and any(file.suffix.lower() == ENDING for file in walk(path))


def read_in_time(path: Path, settings: LabelSettings, in_time: TaskSettings) -> Listing:
    """A row for every file below the folder, with the segments of its cues.

    The WebVTT file of a.mp4 is a.vtt, or a.mp4.vtt, as framewave names it where another file is
    called a too. A file without one has no label; one whose WebVTT file has no cue is background as
    a whole. Raises DataSetError, naming file and line.
    """
    if settings.annotator or settings.annotator_column:
        raise DataSetError(
            "labels.annotator and labels.annotator_column are for tables; a WebVTT file has no "
            "annotators"
        )
    found = list(walk(path))
    files = [file for file in found if file.suffix.lower() != ENDING]
    named = {file.with_suffix(""): file for file in found if file.suffix.lower() == ENDING}
    rows, notes, used = [], [], set()
    for file in files:
        of_file = [named[name] for name in (file, file.with_suffix("")) if name in named]
        if not of_file:
            rows.append(ManifestRow(str(file)))
            continue
        captions = of_file[0]  # of several, that with the whole name
        used.update(of_file)
        cues = _cues(file, captions)
        if not cues:
            rows.append(ManifestRow(str(file), label=in_time.background))
            continue
        merged, merge_notes = merge_segments(captions, cues, in_time)
        rows += merged
        notes += merge_notes
    if unused := sorted(set(named.values()) - used):
        notes.append(
            f"not used: {counted(len(unused), 'WebVTT file')} without a file of the same name "
            f"beside it (for example {unused[0]})"
        )
    return Listing(rows, notes)


def _cues(video: Path, file: Path) -> list[tuple[int, ManifestRow]]:
    """(line of its times, row) of all cues. Raises DataSetError."""
    try:
        lines = re.split(r"\r\n|\n|\r", file.read_text("utf-8-sig"))
        if not lines[0].startswith("WEBVTT"):
            raise DataSetError(f"{file}, line 1: a WebVTT file begins with WEBVTT")
        numbers = list(_lines_of_times(file, lines))
        # not those of webvtt-py, which skips a cue with wrong times
        times_s = [_times_s(file, number, lines[number - 1]) for number in numbers]
        captions: list[webvtt.Caption] = webvtt.read(str(file)).captions
    except (MalformedFileError, MalformedCaptionError, UnicodeDecodeError, OSError) as error:
        raise DataSetError(f"{file} is not a readable WebVTT file: {error}") from error
    if len(numbers) != len(captions):
        raise DataSetError(
            f"{file}: {len(captions)} of {counted(len(numbers), 'cue')} can be read; each needs a "
            "line of times, below it its label, and an empty line"
        )
    return [
        (number, ManifestRow(str(video), *times, _label(file, number, cue)))
        for number, times, cue in zip(numbers, times_s, captions, strict=True)
    ]


def _lines_of_times(file: Path, lines: Sequence[str]) -> Iterator[int]:
    """Number of the line with the times of each cue.

    Raises DataSetError for what is neither a cue nor a comment: webvtt-py and browsers skip it.
    """
    block: list[tuple[int, str]] = []
    is_header = True
    for number, line in enumerate([*lines, ""], 1):
        if line:
            block.append((number, line))
            continue
        if is_header:
            _refuse_times_in_header(file, block)
        elif block and not block[0][1].startswith(_NO_CUES):
            yield _line_of_times(file, block)
        block, is_header = [], False


def _refuse_times_in_header(file: Path, block: Sequence[tuple[int, str]]) -> None:
    for number, text in block:
        if "-->" in text:
            raise DataSetError(f"{file}, line {number}: an empty line is missing above it")


def _line_of_times(file: Path, block: Sequence[tuple[int, str]]) -> int:
    # an identifier may stand above the times
    matching = [number for number, text in block[:2] if _TIMES.match(text)]
    arrow = "-->" if matching else "->"  # a label may be "a -> b"
    others = [(number, text) for number, text in block if arrow in text and number not in matching]
    if len(matching) == 1 and not others:
        return matching[0]
    number, text = (others or block)[0]
    if matching and _TIMES.match(text):
        raise DataSetError(f"{file}, line {number}: an empty line is missing above it")
    raise DataSetError(
        f"{file}, line {number}: '{text[:60]}' is not a line of times, as in "
        "00:00:01.000 --> 00:00:02.500"
    )


def _times_s(file: Path, line: int, text: str) -> tuple[float, float]:
    """Start and end in s of a line of times. Raises DataSetError."""
    start, end = re.findall(_TIME, text)[:2]
    try:
        start_s, end_s = parse_time_s(start), parse_time_s(end)
    except ValueError as error:
        raise DataSetError(f"{file}, line {line}: {error}") from error
    if start_s is None or end_s is None or end_s < start_s:
        raise DataSetError(f"{file}, line {line}: {end} must not be before {start}")
    return start_s, end_s


def _label(file: Path, line: int, cue: webvtt.Caption) -> str:
    label = normalise_label(unescape(cue.text))
    if not label:
        raise DataSetError(f"{file}, line {line}: the cue has no text")
    return label


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
