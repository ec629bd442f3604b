"""Labels in time: the labelled segments of each file, merged into one row per file."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from data_prep.manifest import ManifestRow
from data_prep.segments import TOUCHING_S, LabelledSegment, sequence_text
from data_prep.settings import TaskSettings
from data_prep.status import DataSetError, counted


@dataclass(frozen=True)
class _Line:
    """A segment, and where it was read: "line 7"."""

    where: str
    segment: LabelledSegment

    @property
    def text(self) -> str:
        end = "" if math.isinf(self.segment.end_s) else f" to {self.segment.end_s:g}"
        return f"{self.where}: '{self.segment.label}' from {self.segment.start_s:g}{end} s"


def merge_segments(
    table: Path,
    rows: Sequence[tuple[int, ManifestRow]],
    settings: TaskSettings,
    unit: str = "line",
) -> tuple[list[ManifestRow], list[str]]:
    """One row per file, with its segments in order, and notes.

    rows: line number and row of each segment. A segment without an end lasts until the next one of
    its file begins, or to the end of the file; a row without times labels the whole file. unit:
    what the numbers count. Raises DataSetError, naming them, if segments overlap and task.overlap
    is error.
    """
    lines_of: dict[str, list[tuple[int, ManifestRow]]] = {}
    for line, row in rows:
        lines_of.setdefault(row.path, []).append((line, row))
    merged, n_unordered, n_resolved, example = [], 0, 0, ""
    for path, lines in lines_of.items():
        labelled = []
        for line, row in lines:
            if row.start_s is None and row.end_s is not None:
                raise DataSetError(
                    f"{table}, {unit} {line}: the segment of {path} that ends at {row.end_s:g} s "
                    "has no start"
                )
            start_s, where = row.start_s or 0.0, f"{table.name}, {unit} {line}"
            segment = LabelledSegment(start_s, row.end_or_inf_s, row.label, where)
            if row.label:
                labelled.append(_Line(f"{unit} {line}", segment))
        ordered = sorted(labelled, key=lambda each: each.segment.start_s)
        if ordered != labelled:
            n_unordered += 1
            first = next(b for a, b in pairwise(labelled) if b.segment < a.segment)
            example = example or f"{path}, {first.where}"
        closed = _until_next(ordered)
        segments, resolved = _without_overlaps(table, path, closed, settings)
        n_resolved += resolved
        merged.append(_row_of_file(table, path, lines, segments))
    notes = []
    if n_unordered:
        notes.append(
            f"{table}: the segments of {counted(n_unordered, 'file')} are not in order of time "
            f"(for example {example}); they were sorted"
        )
    if n_resolved:
        kept = "the earlier" if settings.overlap == "first" else "the later"
        notes.append(
            f"{table}: {counted(n_resolved, 'overlap')} of segments, in which {kept} segment is "
            f"kept (task.overlap={settings.overlap})"
        )
    return merged, notes


def _until_next(lines: Sequence[_Line]) -> list[_Line]:
    """The segments, of which those without an end last until the next one begins."""
    starts_s = [*sorted({each.segment.start_s for each in lines}), math.inf]
    closed = []
    for each in lines:
        segment = each.segment
        if math.isinf(segment.end_s):
            segment = replace(segment, end_s=starts_s[bisect_right(starts_s, segment.start_s)])
        closed.append(replace(each, segment=segment))
    return closed


def _without_overlaps(
    table: Path, path: str, lines: Sequence[_Line], settings: TaskSettings
) -> tuple[tuple[LabelledSegment, ...], int]:
    """(segments that do not overlap, number of overlaps that were resolved)."""
    kept: list[_Line] = []
    n_resolved = 0
    for each in lines:
        if kept and each.segment == kept[-1].segment:
            continue  # an equal line
        last = kept[-1] if kept else None
        if last is not None and last.segment.end_s > each.segment.start_s + TOUCHING_S:
            if settings.overlap == "error":
                raise DataSetError(
                    f"{table}: segments of {path} overlap ({last.text}; {each.text}). A step has "
                    "one label: correct the times, or keep the earlier or the later segment with "
                    "task.overlap=first or task.overlap=last"
                )
            n_resolved += 1
            if settings.overlap == "first":
                if each.segment.end_s <= last.segment.end_s:
                    continue
                cut = replace(each.segment, start_s=last.segment.end_s)
                kept.append(replace(each, segment=cut))
                continue
            kept += _cut_by(kept.pop(), each)
            continue
        kept.append(each)
    return tuple(each.segment for each in kept), n_resolved


def _cut_by(earlier: _Line, later: _Line) -> list[_Line]:
    """The earlier segment up to the later one, the later one, and what is left of the earlier."""
    before = replace(earlier.segment, end_s=later.segment.start_s)
    after = replace(earlier.segment, start_s=later.segment.end_s)
    return [
        *([replace(earlier, segment=before)] if before.end_s > before.start_s else []),
        later,
        *([replace(earlier, segment=after)] if after.end_s > after.start_s else []),
    ]


def _row_of_file(
    table: Path,
    path: str,
    lines: Sequence[tuple[int, ManifestRow]],
    segments: tuple[LabelledSegment, ...],
) -> ManifestRow:
    """The row of a file. Raises DataSetError if its lines differ in group, fold or split."""
    names: dict[str, str] = {}
    for name in ("group", "fold", "split"):
        found = {getattr(one, name): line for line, one in lines if getattr(one, name)}
        if len(found) > 1:
            named = " and ".join(f"'{value}' (line {line})" for value, line in found.items())
            raise DataSetError(f"{table}: {path} has the {name} {named}; a file has one")
        names[name] = next(iter(found), "")
    extra = dict(lines[0][1].extra)
    for _, other in lines[1:]:  # columns that differ between segments do not describe the file
        extra = {key: value for key, value in extra.items() if other.extra.get(key) == value}
    return ManifestRow(
        path, label=sequence_text(segments), group=names["group"], fold=names["fold"],
        split=names["split"], extra=extra, segments=segments,
    )  # fmt: skip
