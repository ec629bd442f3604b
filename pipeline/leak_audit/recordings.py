"""Find clips of one recording without decoding: by equal bytes, or by recording times.

Files of one recording start at the same time, or one starts where the other ends. The time comes
from the file name (20260326_173207) or from the MP4 header and is used only if it is plausible:
batches of files often carry the time of their conversion.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from data_prep.manifest import ManifestRow
from data_prep.media.container_headers import mp4_recorded_s
from pipeline.leak_audit.findings import (
    PARTS_OF_ONE_FILE,
    Crossing,
    Finding,
    Kind,
    crossings,
    of_interest,
)

_BLOCK_BYTES = 1 << 20  # read at a time while hashing
_STAMP = re.compile(
    r"(?<!\d)(20\d\d)[-_]?(\d\d)[-_]?(\d\d)[-_T ]*(\d\d)[-_:h.]?(\d\d)[-_:m.]?(\d\d)(?!\d{4})"
)
_FOLLOWS_S = 2.0  # largest gap or overlap between a file and its continuation
_MOST_OF_ONE_STAMP = 0.2  # a start time of a larger share of the files is no recording time
_FEW = 5  # files may share a start time however small the data set is


def contents(rows: Sequence[ManifestRow]) -> dict[str, str]:
    """{path: identifier of the file's content}, the same for files of equal bytes."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path, size in sorted({(row.path, row.size_bytes or 0) for row in rows}):
        by_size[size].append(path)
    # only files of equal size can have equal bytes, so few are hashed
    same_size = {path for paths in by_size.values() if len(paths) > 1 for path in paths}
    # a file of unique size is identified by its path
    return {row.path: row.path for row in rows} | {
        path: digest for path in same_size if (digest := _digest(path)) is not None
    }


def same_bytes(rows: Sequence[ManifestRow], content: Mapping[str, str]) -> Iterator[Finding]:
    """Clips of files with equal bytes, or of one file, that a group or another boundary separates.

    All pairs of overlapping clips (SAME_BYTES); of disjoint parts the pairs of `_linking_pairs`
    (SAME_RECORDING).
    """
    by_content: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        by_content[content[row.path]].append(row)
    place = {row.id: k for k, row in enumerate(rows)}
    for same in by_content.values():
        by_time = sorted(same, key=lambda row: (_start_s(row), place[row.id]))
        for pair in _overlapping(by_time):
            first, second = _in_order(pair, place)
            if of_interest(first, second):
                yield Finding(Kind.SAME_BYTES, first, second, _start_s(second) - _start_s(first))
        for pair in _linking_pairs(by_time):
            first, second = _in_order(pair, place)
            if _separated(first, second) and disjoint(first, second):
                offset_s = _start_s(second) - _start_s(first)
                yield Finding(
                    Kind.SAME_RECORDING, first, second, offset_s, None, note=PARTS_OF_ONE_FILE
                )


def _in_order(
    pair: tuple[ManifestRow, ManifestRow], place: Mapping[str, int]
) -> tuple[ManifestRow, ManifestRow]:
    """The pair in manifest order. place: {clip id: index in the manifest}."""
    first, second = pair
    return pair if place[first.id] <= place[second.id] else (second, first)


def _overlapping(by_time: Sequence[ManifestRow]) -> Iterator[tuple[ManifestRow, ManifestRow]]:
    """Pairs of parts of one content that overlap. by_time: sorted by start."""
    for k, first in enumerate(by_time):
        for second in by_time[k + 1 :]:  # sorted by start: after the first disjoint one all are
            if disjoint(first, second):
                break
            yield first, second


def _start_s(row: ManifestRow) -> float:
    return row.start_s or 0.0


def disjoint(first: ManifestRow, second: ManifestRow) -> bool:
    """Whether two labelled parts of one content do not overlap in time."""
    (a, b), (c, d) = (
        (_start_s(row), float("inf") if row.end_s is None else row.end_s) for row in (first, second)
    )
    return a >= d or c >= b


def same_recordings(rows: Sequence[ManifestRow]) -> Iterator[Finding]:
    """Clips of files recorded at the same time or directly one after the other, by their times."""
    place = {row.id: k for k, row in enumerate(rows)}
    for finding in _by_time(rows):
        first, second = _in_order((finding.first, finding.second), place)
        yield replace(finding, first=first, second=second)


def _by_time(rows: Sequence[ManifestRow]) -> Iterator[Finding]:
    """Compares files of equal size, rotation and sound only; others are from another camera."""
    times = {path: recorded_s(path) for path in sorted({row.path for row in rows})}
    n_starting = Counter(time for time in times.values() if time is not None)
    most_files = max(_FEW, int(_MOST_OF_ONE_STAMP * len(times)))
    by_format: dict[Hashable, list[tuple[float, ManifestRow]]] = defaultdict(list)
    for row in rows:
        time_s = times[row.path]
        if time_s is not None and n_starting[time_s] <= most_files:
            # files of another format come from another camera
            media_format = row.width_px, row.height_px, row.rotation_deg, row.has_audio
            by_format[media_format].append((time_s, row))
    for timed in by_format.values():
        timed.sort(key=lambda item: (item[0], item[1].path, item[1].start_s or 0.0))
        starting: dict[float, list[ManifestRow]] = defaultdict(list)
        for time_s, row in timed:
            starting[time_s].append(row)
        for same in starting.values():
            for first, second in _linking_pairs(same):
                yield from _finding(first, second, "recorded at the same time")
        by_file: dict[str, list[ManifestRow]] = defaultdict(list)
        for _, row in timed:
            by_file[row.path].append(row)
        for before, after in _continuations(starting):
            for first, second in _linking_pairs([*by_file[before.path], *by_file[after.path]]):
                yield from _finding(first, second, "continues where the other ends")


def _continuations(
    starting: Mapping[float, Sequence[ManifestRow]],
) -> Iterator[tuple[ManifestRow, ManifestRow]]:
    """(clip of a file, clip of the file that continues it). starting: {start time: clips}.

    A file during which a third one starts is skipped: these are several cameras, or conversion
    times.
    """
    starts = sorted(starting)
    for time_s, rows in starting.items():
        for row in {row.path: row for row in rows}.values():  # one clip per file
            if row.duration_s is None:
                continue
            end_s = time_s + row.duration_s
            n_during = bisect_left(starts, end_s - _FOLLOWS_S) - bisect_right(starts, time_s)
            if n_during > 0:  # a third file starts during this one
                continue
            nearby = starts[
                bisect_left(starts, end_s - _FOLLOWS_S) : bisect_right(starts, end_s + _FOLLOWS_S)
            ]
            for start_s in nearby:
                if start_s > time_s:  # else a very short file would continue itself
                    for other in {row.path: row for row in starting[start_s]}.values():
                        yield row, other


def _linking_pairs(same: Sequence[ManifestRow]) -> list[tuple[ManifestRow, ManifestRow]]:
    """Pairs that link all clips and show every leak, since all pairs would be too many: each clip
    with the next one, and with one clip of every other split and fold."""
    pairs = {(k, k + 1) for k in range(len(same) - 1)}  # a chain is enough to merge the groups
    for place in _first_of_each_side(same):
        for k, row in enumerate(same):
            if _side(row) != _side(same[place]):
                pairs.add((min(k, place), max(k, place)))
    return [(same[k], same[other]) for k, other in sorted(pairs)]


def _first_of_each_side(rows: Sequence[ManifestRow]) -> list[int]:
    """Index of the first clip of each split and fold."""
    firsts: dict[tuple[str, str], int] = {}
    for place, row in enumerate(rows):
        firsts.setdefault(_side(row), place)
    return list(firsts.values())


def _side(row: ManifestRow) -> tuple[str, str]:
    return row.split, row.fold


def _finding(first: ManifestRow, second: ManifestRow, note: str) -> Iterator[Finding]:
    if _separated(first, second) and first.path != second.path:
        yield Finding(Kind.SAME_RECORDING, first, second, note=note)


def _separated(first: ManifestRow, second: ManifestRow) -> bool:
    """Whether split, fold or group separates them; one recording may have two labels."""
    return bool(set(crossings(first, second)) - {Crossing.LABELS})


def recorded_s(path: str) -> float | None:
    """Start of the recording in seconds since 1970, from the file name or MP4 header, or None."""
    stamp = _STAMP.search(Path(path).stem)
    if stamp is not None:
        with suppress(ValueError):  # digits that are not a date
            # read as UTC: only differences matter
            return datetime.strptime("".join(stamp.groups()) + "Z", "%Y%m%d%H%M%S%z").timestamp()
    try:
        return mp4_recorded_s(path)
    except OSError:
        return None


def _digest(path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
