"""Groups: clips of one source (a camera, a day, a person, one long recording).

Clips of a group never stand on both sides of a split, or the score flatters. Where no column says
what the groups are, sub-folders and name series are proposed, if they leave enough to split.

One recording with many labelled parts, divided into blocks of time: for `split.by=time`.

Blocks stand in for groups. What is near a block of another split is left out, since a second later
a recording is hardly another one. Even so a score by blocks says how well the rest of these
recordings is labelled, and nothing about other days, places or individuals.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path, PurePath

from data_prep.label_text import normalise_label, printable_name
from data_prep.manifest import ManifestRow

_MIN_GROUPS_PER_LABEL = 3  # one each for train, val and test

# A running number (with a letter or a copy mark after it) at the end of a name: cam3_0012b → cam3
_SERIES = re.compile(r"^(?P<stem>.*?[^\d\W_].*?|\d+)[\s._-]+\(?\d+\)?[\s._-]?[a-zA-Z]?$")


def infer_groups(
    rows: Sequence[ManifestRow], allowed: bool, has_column: bool | None = None
) -> tuple[list[ManifestRow], str]:
    """(rows with a group each, a sentence that says where the groups come from).

    Groups already there stay. has_column: whether the data itself names groups (not only a few
    edits); None: if any row has one.
    """
    if any(row.group for row in rows) if has_column is None else has_column:
        own = sum(not row.group for row in rows)
        rest = f"; {own} rows without one are a group each" if own else ""
        return _fill(rows, {}), "groups: the data's group column" + rest
    long_files = len({row.path for row in rows}) < len(rows)
    if allowed:
        for what, proposed in (
            ("sub-folders below the label", {row.key: _subfolder(row) for row in rows}),
            ("series of file names", {row.key: _series(row) for row in rows}),
        ):
            if _enough(rows, proposed):
                return _fill(
                    rows, proposed
                ), f"groups: inferred from {what} (a group column would be surer)"
    if long_files:
        return _fill(rows, {}), "groups: segments of one file belong together"
    named = {row.group for row in rows if row.group and row.group != row.path}
    if named:
        return _fill(rows, {}), f"groups: {len(named)} named in the manifest, other files alone"
    return _fill(rows, {}), "groups: none known, so every file stands alone (a random split)"


def _fill(
    rows: Sequence[ManifestRow], proposed: dict[tuple[str, float | None, float | None], str]
) -> list[ManifestRow]:
    return [
        row if row.group else replace(row, group=proposed.get(row.key) or row.path) for row in rows
    ]


def _enough(
    rows: Sequence[ManifestRow], proposed: dict[tuple[str, float | None, float | None], str]
) -> bool:
    """Whether the proposal groups anything, and still leaves each label enough groups."""
    groups_of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.trainable:
            groups_of[row.label].add(proposed[row.key])
    named = {group for groups in groups_of.values() for group in groups}
    return (
        "" not in named
        and bool(groups_of)
        and len(named) < sum(row.trainable for row in rows)
        and all(len(groups) >= _MIN_GROUPS_PER_LABEL for groups in groups_of.values())
    )


def _subfolder(row: ManifestRow) -> str:
    """The folder between the label's folder and the file, if the label is a folder above it."""
    parts = tuple(normalise_label(printable_name(part)) for part in PurePath(row.path).parent.parts)
    if row.label in parts:
        below = parts[len(parts) - parts[::-1].index(row.label) :]
        return "/".join(below)
    return ""


def _series(row: ManifestRow) -> str:
    stem = PurePath(row.path).stem
    match = _SERIES.match(stem)
    return match["stem"] if match else row.path  # no series: alone


MOST_BLOCKS = 10
LEAST_PARTS = 12
"""Labelled parts of a file from which on it is worth dividing."""
_PARTS_PER_BLOCK = 4

Key = tuple[str, float | None, float | None]


def divisible_recordings(rows: Sequence[ManifestRow]) -> dict[str, list[ManifestRow]]:
    """{file: its labelled parts in order of time} of files with enough of them."""
    of_file: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.trainable and (row.start_s is not None or row.end_s is not None):
            of_file[row.path].append(row)
    return {
        path: sorted(parts, key=_begin)
        for path, parts in of_file.items()
        if len(parts) >= LEAST_PARTS
    }


def time_blocks(rows: Sequence[ManifestRow], own: frozenset[Key]) -> list[ManifestRow]:
    """The rows with blocks of time as groups; own: keys of rows whose groups people gave."""
    block_of: dict[Key, str] = {}
    for path, parts in divisible_recordings(rows).items():
        n_blocks = min(MOST_BLOCKS, len(parts) // _PARTS_PER_BLOCK)
        for number, block in enumerate(_cut(parts, n_blocks)):
            for row in block:
                block_of[row.key] = f"{Path(path).name}#{number:02d}"
    return [
        replace(row, group=block_of.get(row.key, row.group)) if row.key not in own else row
        for row in rows
    ]


def without_neighbours(rows: Sequence[ManifestRow], gap_s: float) -> tuple[list[ManifestRow], int]:
    """(the rows, those trained on that lie too near to a judged part of their file without a split;
    how many these are)."""
    judged: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.split in ("val", "test"):
            judged[row.path].append(row)
    kept, n_left_out = [], 0
    for row in rows:
        others = [other for other in judged.get(row.path, ()) if other.split != row.split]
        drop = (row.split == "train" or row.split == "val") and any(
            is_near(row, other, gap_s) for other in others
            if not (row.split == "val" and other.split != "test")
        )  # fmt: skip
        n_left_out += drop
        kept.append(replace(row, split="") if drop else row)
    return kept, n_left_out


def is_near(first: ManifestRow, second: ManifestRow, gap_s: float) -> bool:
    """Whether less than this lies between two parts of one file."""
    begins, ends = (_begin(first), _begin(second)), (_end(first), _end(second))
    return first.path == second.path and max(begins) - min(ends) < gap_s


def _cut(parts: list[ManifestRow], n_blocks: int) -> list[list[ManifestRow]]:
    """About equally many parts in each block, cut at the longest pause near an even cut."""
    reach = max(1, len(parts) // n_blocks // 4)
    cuts = []
    for k in range(1, n_blocks):
        even = k * len(parts) // n_blocks
        near = range(max(1, even - reach), min(len(parts), even + reach + 1))
        # in whole milliseconds, or rounding would choose among pauses of one length
        cuts.append(max(near, key=lambda i: (_pause_ms(parts[i - 1], parts[i]), -abs(i - even))))
    edges = [0, *sorted(set(cuts)), len(parts)]
    return [parts[a:b] for a, b in itertools.pairwise(edges) if b > a]


def _pause_ms(before: ManifestRow, after: ManifestRow) -> float:
    pause_s = _begin(after) - _end(before)
    return round(1000 * pause_s) if isfinite(pause_s) else pause_s


def _begin(row: ManifestRow) -> float:
    return row.start_s or 0.0


def _end(row: ManifestRow) -> float:
    if row.end_s is not None:
        return row.end_s
    return row.duration_s if row.duration_s is not None else float("inf")
