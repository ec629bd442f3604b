"""Labels in time: the labelled segments of each file, merged into one row per file."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from data_prep.manifest import ManifestRow
from data_prep.segments import TOUCHING_S, LabelledSegment, check_label_time, sequence_text
from data_prep.settings import TaskSettings
from data_prep.status import DataSetError, MediaError, counted

_ROUNDED_S = 1.0  # a label may end so much after its file


@dataclass(frozen=True)
class _Line:
    """A segment, and where it was read: "line 7"."""

    where: str
    segment: LabelledSegment

    @property
    def text(self) -> str:
        end = "" if math.isinf(self.segment.end_s) else f" to {self.segment.end_s:g}"
        return f"{self.where}: '{self.segment.label}' from {self.segment.start_s:g}{end} s"


_NumberedRow = tuple[int, ManifestRow]  # line number, and its row


@dataclass(frozen=True)
class Annotators:
    """Who labelled each line: {line number: name}; preferred: labels.annotator.

    hint: the setting that would read names from another column, if one looks like it.
    """

    of_line: dict[int, str] = field(default_factory=dict)
    preferred: str | None = None
    hint: str = ""

    def merged(self) -> Annotators:
        """With one name for spellings that differ in case alone, the first one."""
        first: dict[str, str] = {}
        of_line = {n: first.setdefault(x.casefold(), x) for n, x in self.of_line.items()}
        preferred = self.preferred
        if preferred is not None:
            preferred = first.get(preferred.casefold(), preferred)
        return replace(self, of_line=of_line, preferred=preferred)


def merge_segments(
    table: Path,
    rows: Sequence[_NumberedRow],
    settings: TaskSettings,
    annotators: Annotators | None = None,
) -> tuple[list[ManifestRow], list[str]]:
    """One row per file, with its segments in order, and notes.

    rows: line number and row of each segment. A segment without an end lasts until the next one of
    its file begins, or to the end of the file; a row without times labels the whole file. The
    segments of each annotator are read by themselves. Raises DataSetError, naming them, if segments
    overlap and task.overlap is error.
    """
    annotators = Annotators() if annotators is None else annotators.merged()
    lines_of: dict[str, list[_NumberedRow]] = {}
    for line, row in rows:
        if row.start_s is None and row.end_s is not None:
            raise DataSetError(
                f"{table}, line {line}: the segment of {row.path} that ends at {row.end_s:g} s "
                "has no start"
            )
        lines_of.setdefault(row.path, []).append((line, row))
    by_of = {p: _by_annotator(table, p, lines, annotators) for p, lines in lines_of.items()}
    order = _by_preference(table, list(by_of.values()), annotators.preferred)
    merged, merger = [], _Merger(table, settings, annotators.hint)
    for path, lines in lines_of.items():
        names = sorted(by_of[path], key=order.index)
        of_names = {name: merger.segments_of(path, by_of[path][name]) for name in names}
        main = of_names.pop(names[0]) if names else ()
        others = [
            replace(segment, annotator=name)
            for name, of_one in of_names.items()
            for segment in of_one
        ]
        row = _row_of_file(table, path, lines, main)
        merged.append(replace(row, other_segments=tuple(others)))
    return merged, [*merger.notes(), *_annotator_notes(table, merged, order)]


def _annotator_notes(table: Path, rows: Sequence[ManifestRow], order: Sequence[str]) -> list[str]:
    n_files = sum(bool(row.other_segments) for row in rows)
    if not n_files:
        return []
    n_others = sum(len(row.other_segments) for row in rows)
    return [
        f"{table}: {counted(n_files, 'file was', 'files were')} labelled by several people; the "
        f"segments of {order[0]}, or of whoever else labelled the most files, are the labels "
        f"(labels.annotator). {counted(n_others, 'segment')} of the others "
        f"{'is' if n_others == 1 else 'are'} not trained on: the evaluation of task=timeline "
        "compares them with the labels"
    ]


def _by_annotator(
    table: Path, path: str, lines: Sequence[_NumberedRow], annotators: Annotators
) -> dict[str, list[_NumberedRow]]:
    """The lines of a file with a label, by name. Raises DataSetError."""
    found: dict[str, list[_NumberedRow]] = {}
    for line, row in lines:
        if row.label:
            found.setdefault(annotators.of_line.get(line, ""), []).append((line, row))
    if "" in found and len(found) > 1:
        raise DataSetError(
            f"{table}, line {found[''][0][0]}: the annotator is empty, while other lines of {path} "
            "have one; fill it in"
        )
    return found


def _by_preference(
    table: Path, by_of: Sequence[dict[str, list[_NumberedRow]]], preferred: str | None
) -> list[str]:
    """The annotators: labels.annotator, then by the number of files, of equal ones by name.

    Raises DataSetError.
    """
    n_files = Counter(name for by in by_of for name in by)
    if preferred is not None and preferred not in n_files:
        raise DataSetError(
            f"{table}: labels.annotator={preferred} labelled nothing; those who did: "
            f"{', '.join(sorted(filter(None, n_files)))}"
        )
    return sorted(n_files, key=lambda name: (name != preferred, -n_files[name], name))


class _Merger:
    """Reads the segments of files one after the other, and counts what it had to mend."""

    def __init__(self, table: Path, settings: TaskSettings, hint: str) -> None:
        """hint: for overlaps, see `Annotators`."""
        self._table, self._settings, self._hint = table, settings, hint
        self._unordered: dict[str, str] = {}  # file → the first line that is too late
        self._n_resolved = 0

    def segments_of(self, path: str, lines: Sequence[_NumberedRow]) -> tuple[LabelledSegment, ...]:
        """The segments of a file in order. Raises DataSetError."""
        labelled = []
        for line, row in lines:
            where = f"{self._table.name}, line {line}"
            segment = LabelledSegment(row.start_s or 0.0, row.end_or_inf_s, row.label, where=where)
            labelled.append(_Line(f"line {line}", segment))
        ordered = sorted(labelled, key=lambda each: each.segment.start_s)
        if ordered != labelled:
            late = next(b for a, b in pairwise(labelled) if b.segment < a.segment)
            self._unordered.setdefault(path, late.where)
        closed = _until_next(ordered)
        segments, resolved = _without_overlaps(
            self._table, path, closed, self._settings, self._hint
        )
        self._n_resolved += resolved
        return segments

    def notes(self) -> list[str]:
        """Notes for the user on the files so far."""
        notes = []
        if self._unordered:
            path, where = next(iter(self._unordered.items()))
            notes.append(
                f"{self._table}: the segments of {counted(len(self._unordered), 'file')} are not "
                f"in order of time (for example {path}, {where}); they were sorted"
            )
        if self._n_resolved:
            kept = "the earlier" if self._settings.overlap == "first" else "the later"
            notes.append(
                f"{self._table}: {counted(self._n_resolved, 'overlap')} of segments, in which "
                f"{kept} segment is kept (task.overlap={self._settings.overlap})"
            )
        return notes


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
    table: Path, path: str, lines: Sequence[_Line], settings: TaskSettings, hint: str
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
                    + (f". If several people labelled the files: {hint}" if hint else "")
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


def late_label_notes(rows: Sequence[ManifestRow]) -> list[str]:
    """Notes on labels in time that end after their file: far after, which is refused, or a bit."""
    notes = []
    misplaced = [(row, why) for row in rows if (why := _label_after_end(row))]
    if misplaced:
        row, why = misplaced[0]
        notes.append(
            f"{counted(len(misplaced), 'file')} cannot be used because of a label (for example "
            f"{row.path}: {why}); in another unit, the labels of all other files are wrong too"
        )
    cut = [
        (row, segment)
        for row in rows
        if row.status.usable
        for segment in row.all_segments
        if not segment.is_point
        and row.duration_s is not None
        and row.duration_s + _ROUNDED_S < segment.end_s < math.inf
    ]
    if cut:
        row, segment = cut[0]
        notes.append(
            f"{counted(len(cut), 'label ends', 'labels end')} after the end of the file, where "
            f"what is left is cut off (for example {row.path}, which ends at "
            f"{row.duration_s:g} s: '{segment.label}' ends at {segment.end_s:g} s)"
        )
    return notes


def _label_after_end(row: ManifestRow) -> str:
    """Why a label in time made a file unusable, or ""."""
    if row.status.usable or row.duration_s is None:
        return ""
    for segment in row.segments:
        try:
            check_label_time(segment, row.duration_s)
        except MediaError as error:
            if str(error) == row.error:  # the file may be unusable for another reason
                return row.error
    return ""
