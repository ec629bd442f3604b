"""What files say of themselves: equal bytes, recordings that begin together or go on in another.

A time is taken from the name (20260326_173207) or from an MP4's header, and only believed where it
fits: batches of files are often stamped with the second in which they were converted.
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

_BLOCK_BYTES = 1 << 20
_STAMP = re.compile(
    r"(?<!\d)(20\d\d)[-_]?(\d\d)[-_]?(\d\d)[-_T ]*(\d\d)[-_:h.]?(\d\d)[-_:m.]?(\d\d)(?!\d{4})"
)
_FOLLOWS_S = 2.0
_MOST_OF_ONE_STAMP = 0.2  # more files than this share begin together: the stamp says nothing
_FEW = 5


def contents(rows: Sequence[ManifestRow]) -> dict[str, str]:
    """{path: a name of its content}: the same for files of equal bytes."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path, size in sorted({(row.path, row.size_bytes or 0) for row in rows}):
        by_size[size].append(path)
    twins = {path for paths in by_size.values() if len(paths) > 1 for path in paths}
    return {row.path: row.path for row in rows} | {
        path: digest for path in twins if (digest := _digest(path)) is not None
    }


def same_bytes(rows: Sequence[ManifestRow], content: Mapping[str, str]) -> Iterator[Finding]:
    """Files of equal content, and labelled parts of one file, that groups or labels set apart.

    Of those that are wholly the same, all pairs; of parts, see `_companions`.
    """
    alike: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        alike[content[row.path]].append(row)
    place = {row.id: k for k, row in enumerate(rows)}
    for same in alike.values():
        by_time = sorted(same, key=lambda row: (_begin_s(row), place[row.id]))
        for pair in _overlapping(by_time):
            first, second = _in_order(pair, place)
            if of_interest(first, second):
                yield Finding(Kind.SAME_BYTES, first, second, _begin_s(second) - _begin_s(first))
        for pair in _companions(by_time):
            first, second = _in_order(pair, place)
            if _set_apart(first, second) and disjoint(first, second):
                offset_s = _begin_s(second) - _begin_s(first)
                yield Finding(
                    Kind.SAME_RECORDING, first, second, offset_s, None, note=PARTS_OF_ONE_FILE
                )


def _in_order(
    pair: tuple[ManifestRow, ManifestRow], place: Mapping[str, int]
) -> tuple[ManifestRow, ManifestRow]:
    """As the manifest has them. place: {clip id: its number}."""
    first, second = pair
    return pair if place[first.id] <= place[second.id] else (second, first)


def _overlapping(by_time: Sequence[ManifestRow]) -> Iterator[tuple[ManifestRow, ManifestRow]]:
    """Pairs of parts of one content with a moment in common; by_time: in order of their begins."""
    for k, first in enumerate(by_time):
        for second in by_time[k + 1 :]:
            if disjoint(first, second):
                break
            yield first, second


def _begin_s(row: ManifestRow) -> float:
    return row.start_s or 0.0


def disjoint(first: ManifestRow, second: ManifestRow) -> bool:
    """Whether two labelled parts of one content have no moment in common."""
    (a, b), (c, d) = (
        (_begin_s(row), float("inf") if row.end_s is None else row.end_s) for row in (first, second)
    )
    return a >= d or c >= b


def same_recordings(rows: Sequence[ManifestRow]) -> Iterator[Finding]:
    """Files that say they were recorded at the same moment, or one right after the other."""
    place = {row.id: k for k, row in enumerate(rows)}
    for finding in _together(rows):
        first, second = _in_order((finding.first, finding.second), place)
        yield replace(finding, first=first, second=second)


def _together(rows: Sequence[ManifestRow]) -> Iterator[Finding]:
    """Among files of one shape; others are of another camera, or no parts of one recording."""
    times = {path: recorded_s(path) for path in sorted({row.path for row in rows})}
    common = Counter(time for time in times.values() if time is not None)
    most = max(_FEW, int(_MOST_OF_ONE_STAMP * len(times)))
    of_shape: dict[Hashable, list[tuple[float, ManifestRow]]] = defaultdict(list)
    for row in rows:
        time_s = times[row.path]
        if time_s is not None and common[time_s] <= most:
            shape = row.width_px, row.height_px, row.rotation_deg, row.has_audio
            of_shape[shape].append((time_s, row))
    for timed in of_shape.values():
        timed.sort(key=lambda item: (item[0], item[1].path, item[1].start_s or 0.0))
        begun: dict[float, list[ManifestRow]] = defaultdict(list)
        for time_s, row in timed:
            begun[time_s].append(row)
        for same in begun.values():
            for first, second in _companions(same):
                yield from _one(first, second, "recorded at the same time")
        of_file: dict[str, list[ManifestRow]] = defaultdict(list)
        for _, row in timed:
            of_file[row.path].append(row)
        for before, after in _going_on(begun):
            for first, second in _companions([*of_file[before.path], *of_file[after.path]]):
                yield from _one(first, second, "goes on where the other ends")


def _going_on(
    begun: Mapping[float, Sequence[ManifestRow]],
) -> Iterator[tuple[ManifestRow, ManifestRow]]:
    """(a clip of a file, one of the file that goes on where it ends). begun: by when files begin.

    Where a third file begins before the first one ends, no one camera made them: these are several
    cameras, or times at which files were converted.
    """
    begins = sorted(begun)
    for time_s, rows in begun.items():
        for row in {row.path: row for row in rows}.values():
            if row.duration_s is None:
                continue
            end_s = time_s + row.duration_s
            within = bisect_left(begins, end_s - _FOLLOWS_S) - bisect_right(begins, time_s)
            if within > 0:
                continue
            near = begins[
                bisect_left(begins, end_s - _FOLLOWS_S) : bisect_right(begins, end_s + _FOLLOWS_S)
            ]
            for begin_s in near:
                if begin_s > time_s:
                    for other in {row.path: row for row in begun[begin_s]}.values():
                        yield row, other


def _companions(same: Sequence[ManifestRow]) -> list[tuple[ManifestRow, ManifestRow]]:
    """Each clip with its neighbour, which links all, and with one clip of every other side of a
    split or of folds, so that each is named that leaks; all pairs would be too many."""
    pairs = {(k, k + 1) for k in range(len(same) - 1)}
    for place in _one_of_each_side(same):
        for k, row in enumerate(same):
            if _side(row) != _side(same[place]):
                pairs.add((min(k, place), max(k, place)))
    return [(same[k], same[other]) for k, other in sorted(pairs)]


def _one_of_each_side(rows: Sequence[ManifestRow]) -> list[int]:
    """The place of the first of each."""
    firsts: dict[tuple[str, str], int] = {}
    for place, row in enumerate(rows):
        firsts.setdefault(_side(row), place)
    return list(firsts.values())


def _side(row: ManifestRow) -> tuple[str, str]:
    return row.split, row.fold


def _one(first: ManifestRow, second: ManifestRow, note: str) -> Iterator[Finding]:
    if _set_apart(first, second) and first.path != second.path:
        yield Finding(Kind.SAME_RECORDING, first, second, note=note)


def _set_apart(first: ManifestRow, second: ManifestRow) -> bool:
    """By a split, by folds or groups; labels do not count, since one recording may show two."""
    return bool(set(crossings(first, second)) - {Crossing.LABELS})


def recorded_s(path: str) -> float | None:
    """Seconds since 1970 at which a file was recorded, by its name or its header, or None."""
    stamp = _STAMP.search(Path(path).stem)
    if stamp is not None:
        with suppress(ValueError):  # digits that are no date
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
