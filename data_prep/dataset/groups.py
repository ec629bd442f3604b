"""Groups of clips that must not be split: clips of one camera, day, person or recording.

A group in both training and test makes the score optimistic. Without a group column, groups are
inferred from sub-folders or numbered file names, if enough groups remain to split.

With split.by=time, blocks of time within a recording take the place of groups. Segments near a
block of another split are left out, since neighbouring seconds of a recording are nearly the same.
The score then holds for the rest of these recordings, not for other days, places or individuals.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path, PurePath

from data_prep.manifest import (
    ManifestRow,
    RowLabels,
    normalise_label,
    printable_name,
    whole_label,
)
from data_prep.status import counted

_MIN_GROUPS_PER_LABEL = 3  # one each for train, val and test

# a running number at the end of a name, perhaps with a letter or copy mark: cam3_0012b → cam3
_SERIES = re.compile(r"^(?P<stem>.*?[^\d\W_].*?|\d+)[\s._-]+\(?\d+\)?[\s._-]?[a-zA-Z]?$")


def infer_groups(
    rows: Sequence[ManifestRow],
    allowed: bool,
    has_column: bool | None = None,
    row_labels: RowLabels = whole_label,
) -> tuple[list[ManifestRow], str]:
    """Return the rows with a group each, and a note on where the groups come from.

    Existing groups are kept. allowed: whether groups may be inferred from names. has_column:
    whether the data set itself names groups (rather than a few edits of the manifest); None: if any
    row has a group. row_labels: of the task; each label needs groups of its own.
    """
    if any(row.group for row in rows) if has_column is None else has_column:
        n_alone = sum(not row.group for row in rows)
        rest = (
            f"; {counted(n_alone, 'row')} without one, each a group of its own" if n_alone else ""
        )
        return _fill_groups(rows, {}), "groups: the data's group column" + rest
    has_segments = len({row.path for row in rows}) < len(rows)
    if allowed:
        for source, proposed in (
            ("sub-folders below the label", {row.key: _subfolder(row) for row in rows}),
            ("series of file names", {row.key: _series(row) for row in rows}),
        ):
            if _is_useful(rows, proposed, row_labels):
                return _fill_groups(
                    rows, proposed
                ), f"groups: inferred from {source} (a group column would be more reliable)"
    if has_segments:
        return _fill_groups(rows, {}), "groups: the parts of a file belong together"
    named = {row.group for row in rows if row.group and row.group != row.path}
    if named:
        return _fill_groups(
            rows, {}
        ), f"groups: {len(named)} named in the manifest, every other file is a group"
    return _fill_groups(rows, {}), "groups: none known, every file is a group (a random split)"


def _fill_groups(
    rows: Sequence[ManifestRow], proposed: dict[tuple[str, float | None, float | None], str]
) -> list[ManifestRow]:
    return [
        # by default the file: its segments stay together
        row if row.group else replace(row, group=proposed.get(row.key) or row.path)
        for row in rows
    ]


def _is_useful(
    rows: Sequence[ManifestRow],
    proposed: dict[tuple[str, float | None, float | None], str],
    row_labels: RowLabels,
) -> bool:
    """Whether the proposed groups join any clips, and each label still has enough groups."""
    groups_of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for label in row_labels(row) if row.trainable else ():
            groups_of[label].add(proposed[row.key])
    named = {group for groups in groups_of.values() for group in groups}
    return (
        "" not in named  # a clip outside all sub-folders: they are not a complete grouping
        and bool(groups_of)
        and len(named) < sum(row.trainable for row in rows)  # not one clip per group
        and all(len(groups) >= _MIN_GROUPS_PER_LABEL for groups in groups_of.values())
    )


def _subfolder(row: ManifestRow) -> str:
    """Folders between the label's folder and the file, or "" if there are none."""
    parts = tuple(normalise_label(printable_name(part)) for part in PurePath(row.path).parent.parts)
    if row.label in parts:
        below = parts[len(parts) - parts[::-1].index(row.label) :]  # the last one of this name
        return "/".join(below)
    return ""


def _series(row: ManifestRow) -> str:
    """The file name without its running number."""
    stem = PurePath(row.path).stem
    match = _SERIES.match(stem)
    return match["stem"] if match else row.path  # not numbered: a group of its own


MOST_BLOCKS = 10
LEAST_PARTS = 12  # labelled segments that a file must have to be divided into blocks
_SEGMENTS_PER_BLOCK = 4

Key = tuple[str, float | None, float | None]


def divisible_recordings(rows: Sequence[ManifestRow]) -> dict[str, list[ManifestRow]]:
    """{file: its labelled segments by start} for files with at least LEAST_PARTS of them."""
    of_file: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.trainable and (row.start_s is not None or row.end_s is not None):
            of_file[row.path].append(row)
    return {
        path: sorted(parts, key=_start_s)
        for path, parts in of_file.items()
        if len(parts) >= LEAST_PARTS
    }


def time_blocks(rows: Sequence[ManifestRow], own: frozenset[Key]) -> list[ManifestRow]:
    """The rows with blocks of time as groups. own: keys of rows whose group the user gave."""
    block_of: dict[Key, str] = {}
    for path, parts in divisible_recordings(rows).items():
        n_blocks = min(MOST_BLOCKS, len(parts) // _SEGMENTS_PER_BLOCK)
        for number, block in enumerate(_split_at_pauses(parts, n_blocks)):
            for row in block:
                block_of[row.key] = f"{Path(path).name}#{number:02d}"
    return [
        replace(row, group=block_of.get(row.key, row.group)) if row.key not in own else row
        for row in rows
    ]


def without_neighbours(rows: Sequence[ManifestRow], gap_s: float) -> tuple[list[ManifestRow], int]:
    """Clear the split of segments too near to one of another split of the same file.

    Training segments are compared with validation and test, validation segments with test. Returns
    the rows, and the number of those that lost their split.
    """
    evaluated: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.split in ("val", "test"):
            evaluated[row.path].append(row)
    kept, n_left_out = [], 0
    for row in rows:
        others = [other for other in evaluated.get(row.path, ()) if other.split != row.split]
        drop = (row.split == "train" or row.split == "val") and any(
            is_near(row, other, gap_s) for other in others
            if not (row.split == "val" and other.split != "test")  # test segments are never dropped
        )  # fmt: skip
        n_left_out += drop
        kept.append(replace(row, split="") if drop else row)
    return kept, n_left_out


def is_near(first: ManifestRow, second: ManifestRow, gap_s: float) -> bool:
    """Whether two segments of one file overlap, or the gap between them is below gap_s."""
    begins, ends = (_start_s(first), _start_s(second)), (_end_s(first), _end_s(second))
    return first.path == second.path and max(begins) - min(ends) < gap_s


def _split_at_pauses(parts: list[ManifestRow], n_blocks: int) -> list[list[ManifestRow]]:
    """Blocks of about equally many segments, each cut at the longest pause near the even cut."""
    reach = max(1, len(parts) // n_blocks // 4)  # a quarter of a block to either side
    cuts = []
    for k in range(1, n_blocks):
        even = k * len(parts) // n_blocks
        near = range(max(1, even - reach), min(len(parts), even + reach + 1))
        # in whole milliseconds: rounding errors must not decide between pauses of the same length
        cuts.append(max(near, key=lambda i: (_pause_ms(parts[i - 1], parts[i]), -abs(i - even))))
    edges = [0, *sorted(set(cuts)), len(parts)]  # two cuts may coincide
    return [parts[a:b] for a, b in itertools.pairwise(edges) if b > a]


def _pause_ms(before: ManifestRow, after: ManifestRow) -> float:
    pause_s = _start_s(after) - _end_s(before)
    return round(1000 * pause_s) if isfinite(pause_s) else pause_s


def _start_s(row: ManifestRow) -> float:
    return row.start_s or 0.0


def _end_s(row: ManifestRow) -> float:
    if row.end_s is not None:
        return row.end_s
    return row.duration_s if row.duration_s is not None else float("inf")  # to the end of the file
