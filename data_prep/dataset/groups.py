"""Groups: clips of one source (a camera, a day, a person, one long recording).

Clips of a group never stand on both sides of a split, or the score flatters. Where no column says
what the groups are, sub-folders and name series are proposed, if they leave enough to split.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from data_prep.dataset.manifest import ManifestRow
from data_prep.dataset.text import clean, readable

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
    parts = tuple(clean(readable(part)) for part in PurePath(row.path).parent.parts)
    if row.label in parts:
        below = parts[len(parts) - parts[::-1].index(row.label) :]
        return "/".join(below)
    return ""


def _series(row: ManifestRow) -> str:
    stem = PurePath(row.path).stem
    match = _SERIES.match(stem)
    return match["stem"] if match else row.path  # no series: alone
