"""One recording with many labelled parts, divided into blocks of time: for `split.by=time`.

Blocks stand in for groups. What is near a block of another split is left out, since a second later
a recording is hardly another one. Even so a score by blocks says how well the rest of these
recordings is labelled, and nothing about other days, places or individuals.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow

MOST_BLOCKS = 10
LEAST_PARTS = 12
"""Labelled parts of a file from which on it is worth dividing."""
_PARTS_PER_BLOCK = 4

Key = tuple[str, float | None, float | None]


def recordings_to_divide(rows: Sequence[ManifestRow]) -> dict[str, list[ManifestRow]]:
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
    for path, parts in recordings_to_divide(rows).items():
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
