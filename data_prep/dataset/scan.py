"""Scan of a data set: list and probe files, keep edits, infer groups, split; gives the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.annotations.listing import list_data_set
from data_prep.annotations.segments import late_label_notes
from data_prep.clip import check_segment
from data_prep.dataset.groups import (
    Key,
    divisible_recordings,
    infer_groups,
    time_blocks,
    without_neighbours,
)
from data_prep.dataset.splits import assign_splits
from data_prep.files import write_text_atomically
from data_prep.manifest import (
    MANIFEST_NAME,
    ManifestRow,
    RowLabels,
    read_manifest,
    whole_label,
    with_file_facts,
    write_manifest,
)
from data_prep.media.probe import MediaInfo
from data_prep.segments import TOUCHING_S, check_label_time
from data_prep.settings import LabelSettings, LimitSettings, SplitSettings, TaskSettings
from data_prep.status import DataSetError, MediaError, Status, counted
from data_prep.worker.protocol import Failure

SCAN_NAME = "scan.json"
_FEW_GROUPS = 2
_EDITABLE = ("label", "group", "fold", "split")

ProbeAll = Callable[[Sequence[str]], Iterable[MediaInfo | Failure]]
"""Probes files and returns results in order; the pipeline passes one with worker processes."""


@dataclass(frozen=True)
class Scan:
    """Rows of the manifest, notes for the user, and the settings that were used."""

    rows: list[ManifestRow]
    notes: list[str]
    split: SplitSettings = field(default_factory=SplitSettings)
    """The requested split settings on top of those the folder was split with before."""
    labels: LabelSettings = field(default_factory=LabelSettings)
    energy_above: Mapping[str, float] = field(default_factory=dict)
    """Path → share of its audio energy above the frequencies that clips keep, where most of it."""


def scan(
    data: Path,
    work: Path,
    settings: SplitSettings,
    limits: LimitSettings,
    probe_all: ProbeAll,
    labels: LabelSettings | None = None,
    nyquist_hz: float | None = None,
    row_labels: RowLabels = whole_label,
    in_time: TaskSettings | None = None,
) -> Scan:
    """Scan a data set and write work/manifest.csv. Raises DataSetError.

    Existing rows keep their edited label, group, fold and split; files with the same size and mtime
    are not probed again. nyquist_hz: highest audio frequency that clips keep; if it has changed,
    files with audio are probed again. row_labels: of the task, for even shares of each label.
    in_time: of a task whose labels are segments of a file, which then has one row.
    """
    _refuse_division(settings, in_time)
    last = _last_scan(work)
    # what is not set explicitly is as in the last scan
    asked_labels = {} if labels is None else labels.model_dump(exclude_unset=True)
    labels = last.label_settings.model_copy(update=asked_labels)
    asked, settings = settings, _with_stored_settings(settings, last)
    listing = list_data_set(data, labels, in_time)
    listed = [with_file_facts(row) for row in listing.rows]
    manifest = work / MANIFEST_NAME
    old = {row.key: row for row in read_manifest(manifest)} if manifest.exists() else {}
    _refuse_other_files(manifest, old, data, listed)
    reusable = _reusable_rows(old, last, nyquist_hz)
    results = _probe_changed(listed, reusable, probe_all)
    energy_above = _energy_above(listed, results, last)
    is_series = in_time is not None and in_time.target is not None
    probed = _with_probes(listed, reusable, results)
    rows = [_validated_row(row, limits, is_series) for row in probed]
    notes = [*listing.notes, *_segment_notes(rows)]
    if old:
        rows, merge_notes = _keep_edits(rows, old, last, settings)
        notes += [*merge_notes, *_change_notes(asked, settings, last)]
    ungrouped = {row.key for row in rows if not row.group}
    has_column = any(row.group for row in listed)
    if settings == last.split_settings:  # an empty split was set by gap_s, not by the user
        rows = [replace(row, split=row.split or last.left_out.get(row.id, "")) for row in rows]
    rows, left_out, division_notes = _assign_groups_and_splits(
        rows, settings, ungrouped, has_column, row_labels
    )
    write_manifest(manifest, rows)
    record = {
        "split_settings": settings.model_dump(),
        "label_settings": labels.model_dump(),
        "kept_hz": nyquist_hz,
        "energy_above": energy_above,
        "labels": {row.id: row.label for row in rows if row.label},
        "folds": {row.id: row.fold for row in rows if row.fold},
        "splits": {row.id: row.split for row in rows if row.split},
        "inferred_groups": {row.id: row.group for row in rows if row.key in ungrouped},
        "left_out": left_out,
    }
    write_text_atomically(work / SCAN_NAME, json.dumps(record, indent=1) + "\n")
    return Scan(rows, [*notes, *division_notes], settings, labels, energy_above)


def _refuse_division(settings: SplitSettings, in_time: TaskSettings | None) -> None:
    """Raise DataSetError if files with labels in time are to be divided."""
    if in_time is not None and settings.by == "time":
        raise DataSetError(
            f"split.by=time divides the labelled parts of a recording; with task={in_time.name} "
            "a file is one recording with all of its labels. Leave the key out, and use at least "
            "three files"
        )


def _refuse_other_files(
    manifest: Path, old: dict[Key, ManifestRow], data: Path, listed: list[ManifestRow]
) -> None:
    """Raise DataSetError if the manifest has no row of the data set: edits would be lost."""
    if old and not old.keys() & {row.key for row in listed}:
        same = {row.path for row in old.values()} & {row.path for row in listed}
        what = f"the files of {data} with other times" if same else f"none of the files in {data}"
        raise DataSetError(
            f"{manifest} lists {what}; use another --work, or delete the manifest to start again"
        )


def _assign_groups_and_splits(
    rows: list[ManifestRow],
    settings: SplitSettings,
    ungrouped: Collection[Key],
    has_column: bool,
    row_labels: RowLabels,
) -> tuple[list[ManifestRow], dict[str, str], list[str]]:
    """Return the rows with groups and splits, {id: split} of left-out rows, and notes.

    A row is left out, that is, loses its split, if it lies within split.gap_s of a validation or
    test segment. ungrouped: keys of rows without a group; has_column: whether the data set names
    groups.
    """
    rows, group_note = infer_groups(rows, settings.infer_groups, has_column, row_labels)
    if settings.by == "time":
        rows = time_blocks(rows, frozenset(row.key for row in rows if row.key not in ungrouped))
        group_note = "groups: blocks of time within recordings (split.by=time), which say nothing "
        group_note += "about other recordings"
    rows, split_notes = assign_splits(rows, settings, row_labels)
    left_out: dict[str, str] = {}
    if settings.by == "time":
        drawn = {row.id: row.split for row in rows}
        rows, n_left_out = without_neighbours(rows, settings.gap_s)
        left_out = {row.id: drawn[row.id] for row in rows if drawn[row.id] and not row.split}
        emptied = sorted(set(left_out.values()) - {row.split for row in rows})
        split_notes.append(
            f"left out: {counted(n_left_out, 'clip')} within split.gap_s={settings.gap_s:g} s of "
            "validation or test clips"
            + (f": none is left for {' and '.join(emptied)}, reduce the gap" if emptied else "")
        )
    return rows, left_out, [group_note, *split_notes, *_few_recordings(rows, settings)]


def _few_recordings(rows: Sequence[ManifestRow], settings: SplitSettings) -> list[str]:
    """A note suggesting split.by=time if recordings have many segments but form few groups."""
    usable = [row for row in rows if row.trainable]
    files = divisible_recordings(rows)
    if settings.by == "time" or not files or len({row.group for row in usable}) > _FEW_GROUPS:
        return []
    n_parts, n_files = sum(map(len, files.values())), len(files)
    return [
        f"{n_parts} of {len(usable)} labelled clips are parts of "
        f"{counted(n_files, 'recording')}, too few to test on other recordings. "
        "split.by=time divides recordings into blocks of time: the score then holds for the rest "
        "of these recordings, not for other days, places or individuals"
    ]


def _reusable_rows(
    old: dict[Key, ManifestRow], last: _LastScan, nyquist_hz: float | None
) -> dict[Key, ManifestRow]:
    """Rows whose probe result can be reused."""
    if last.nyquist_hz == nyquist_hz:  # remarks on lost high frequencies depend on it
        return old
    return {key: row for key, row in old.items() if not row.has_audio}


def _with_stored_settings(settings: SplitSettings, last: _LastScan) -> SplitSettings:
    """The explicitly set settings on top of those of the last scan."""
    if last.split_settings is None:
        return settings
    asked = {name: getattr(settings, name) for name in settings.model_fields_set}  # not defaults
    return last.split_settings.model_copy(update=asked)


def _change_notes(asked: SplitSettings, settings: SplitSettings, last: _LastScan) -> list[str]:
    if last.split_settings is None or last.split_settings == settings:
        return []
    changed = [
        f"split.{name} was {getattr(last.split_settings, name)} and is {getattr(settings, name)}"
        for name in sorted(asked.model_fields_set)
        if getattr(last.split_settings, name) != getattr(settings, name)
    ]
    return [
        f"{', '.join(changed)}: clips are split again, and test clips may now include some that "
        "earlier models were trained on"
    ]


def _energy_above(
    listed: list[ManifestRow], results: Mapping[str, MediaInfo | Failure], last: _LastScan
) -> dict[str, float]:
    """{path: share of energy}, of this scan's probes and of files that were not probed again."""
    found = {}
    for path in {row.path: None for row in listed}:  # once each, in order
        answer = results.get(path)
        probed = answer.energy_above if isinstance(answer, MediaInfo) else None
        share = last.energy_above.get(path) if answer is None else probed
        if share is not None:
            found[path] = share
    return found


def _known_files(old: dict[Key, ManifestRow]) -> dict[str, ManifestRow]:
    """{path: one of its rows of the last scan}."""
    known: dict[str, ManifestRow] = {}
    for row in old.values():
        if row.path not in known or row.status.usable:  # one of a file's segments may be refused
            known[row.path] = row
    return known


def _probe_changed(
    listed: list[ManifestRow], old: dict[Key, ManifestRow], probe_all: ProbeAll
) -> dict[str, MediaInfo | Failure]:
    """{path: result} of the files that are new or have changed."""
    known = _known_files(old)
    to_probe = sorted({row.path for row in listed if not _unchanged(row, known.get(row.path))})
    return dict(zip(to_probe, probe_all(to_probe), strict=True))


def _with_probes(
    listed: list[ManifestRow],
    old: dict[Key, ManifestRow],
    results: Mapping[str, MediaInfo | Failure],
) -> list[ManifestRow]:
    """The rows with the results of their probe, of this scan or of the last one."""
    known = _known_files(old)
    return [
        with_probe(row, results[row.path])
        if row.path in results
        else _reused_probe(row, old.get(row.key), known[row.path])
        for row in listed
    ]


def _validated_row(row: ManifestRow, limits: LimitSettings, is_series: bool) -> ManifestRow:
    """The row, with an error if its label is too long or its segment is not within the file.

    is_series: its segments are numbers, of which half may lie after the end of the file.
    """
    middle = len(row.segments) // 2
    if row.status.usable and row.duration_s is not None:
        try:
            cut = check_segment(row.start_s, row.end_s, row.duration_s)
            for segment in row.segments[middle : middle + 1] if is_series else row.segments:
                check_label_time(segment, row.duration_s)
        except MediaError as error:
            return replace(row, status=error.status, error=str(error))
        if cut:
            remarks = [row.error] if row.error else []
            messages = remarks if cut in row.error else [*remarks, cut]  # a reused row has it
            row = replace(row, status=Status.PARTIAL, error="; ".join(messages))
    longest = max((len(segment.label) for segment in row.all_segments), default=len(row.label))
    if longest <= limits.max_label_chars:
        return row
    reason = (
        f"its label has {longest} characters, over limits.max_label_chars={limits.max_label_chars}"
    )
    return replace(row, status=Status.REFUSED, error=reason, label="")


def _unchanged(row: ManifestRow, old: ManifestRow | None) -> bool:
    return (
        old is not None
        and old.size_bytes == row.size_bytes
        and old.mtime == row.mtime
        # other failures may have been those of the machine
        and old.status in (Status.OK, Status.PARTIAL, Status.NOT_MEDIA, Status.NO_USABLE_STREAM)
    )


def with_probe(row: ManifestRow, answer: MediaInfo | Failure) -> ManifestRow:
    """The row with the result of the probe."""
    if isinstance(answer, Failure):
        return replace(row, status=answer.status, error=answer.reason)
    return replace(
        row,
        status=Status.PARTIAL if answer.problem else Status.OK,
        error="; ".join(filter(None, (answer.problem, *answer.remarks))),
        duration_s=answer.duration_s,
        width_px=answer.width_px,
        height_px=answer.height_px,
        frame_rate_hz=answer.frame_rate_hz,
        rotation_deg=answer.rotation_deg if answer.has_video else None,  # None: unknown
        has_video=answer.has_video,
        has_audio=answer.has_audio,
    )


def _segment_notes(rows: Sequence[ManifestRow]) -> list[str]:
    """Notes on segments that start or end after the end of their file, or that overlap."""
    parts = [row for row in rows if row.start_s is not None or row.end_s is not None]
    late = [
        row
        for row in parts
        if row.duration_s is not None and (row.start_s or 0.0) >= row.duration_s
    ]
    notes = []
    if late:
        question = "; are the times in milliseconds?" if len(late) > len(parts) / 2 else ""
        notes.append(
            f"{len(late)} of {counted(len(parts), 'part')} cannot be used: the start is after the "
            f"end of the file (for example {late[0].path}, {late[0].start_s:g} s){question}"
        )
    notes += late_label_notes(rows)
    overlapping = _overlapping(parts)
    if overlapping is not None:
        count, first, second = overlapping
        notes.append(
            f"{counted(count, 'part overlaps', 'parts overlap')} a part of another label (for "
            f"example {first.path}: "
            f"{first.label} from {first.start_s or 0:g} s, {second.label} from "
            f"{second.start_s or 0:g} s)"
        )
    return notes


def _overlapping(parts: Sequence[ManifestRow]) -> tuple[int, ManifestRow, ManifestRow] | None:
    """Number of segments that overlap an earlier one of another label, and the first such pair."""
    count, example = 0, None
    latest: dict[str, ManifestRow] = {}  # per label of this file, the segment that ends last
    path = ""
    for row in sorted(parts, key=lambda row: (row.path, row.start_s or 0.0)):
        if row.path != path:
            latest, path = {}, row.path
        begin_s = row.start_s or 0.0
        overlapped = [
            other for label, other in latest.items()
            if label != row.label and other.end_or_inf_s > begin_s + TOUCHING_S
        ]  # fmt: skip
        if overlapped:
            count += 1
            example = example or (overlapped[0], row)
        if row.label not in latest or row.end_or_inf_s > latest[row.label].end_or_inf_s:
            latest[row.label] = row
    return None if example is None else (count, *example)


def _reused_probe(row: ManifestRow, same: ManifestRow | None, other: ManifestRow) -> ManifestRow:
    """The row with what an earlier scan found.

    same: the old row of this segment, whose status is reused too; other: any old row of the file.
    """
    names = (
        "duration_s", "width_px", "height_px", "frame_rate_hz", "rotation_deg", "has_video",
        "has_audio",
    )  # fmt: skip
    facts = {name: getattr(same or other, name) for name in names}
    row = replace(row, **facts)
    if same is not None:
        return replace(row, status=same.status, error=same.error)
    return row if other.status.usable else replace(row, status=other.status, error=other.error)


@dataclass(frozen=True)
class _LastScan:
    """Record of the last scan: values it wrote, which distinguish them from the user's edits."""

    labels: dict[str, str]
    splits: dict[str, str]
    groups: dict[str, str]
    split_settings: SplitSettings | None
    label_settings: LabelSettings = field(default_factory=LabelSettings)
    nyquist_hz: float | None = None
    energy_above: dict[str, float] = field(default_factory=dict)
    folds: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Splits of clips that lost theirs because of split.gap_s."""

    def written(self, name: str) -> dict[str, str]:
        """{row id: value} that the scan wrote in an editable column."""
        return {
            "label": self.labels, "fold": self.folds, "split": self.splits, "group": self.groups,
        }[name]  # fmt: skip


def _last_scan(work: Path) -> _LastScan:
    try:
        record = json.loads((work / SCAN_NAME).read_text("utf-8"))
        return _LastScan(
            dict(record["labels"]),
            dict(record["splits"]),
            dict(record["inferred_groups"]),
            SplitSettings.model_validate(record["split_settings"]),
            LabelSettings.model_validate(record.get("label_settings", {})),
            # None, so that files with audio are probed again, in records without energy_above
            record.get("kept_hz") if "energy_above" in record else None,
            dict(record.get("energy_above", {})),
            dict(record.get("folds", {})),
            dict(record.get("left_out", {})),
        )
    except (OSError, ValueError, KeyError, TypeError):  # ValidationError is a ValueError
        return _LastScan({}, {}, {}, None)  # without a record, every value counts as an edit


def _keep_edits(
    rows: list[ManifestRow],
    old: dict[tuple[str, float | None, float | None], ManifestRow],
    last: _LastScan,
    settings: SplitSettings,
) -> tuple[list[ManifestRow], list[str]]:
    """Return the rows with the values that the user edited in the old manifest, and notes."""
    redraw = last.split_settings is not None and last.split_settings != settings
    kept, differing, n_changed = [], 0, 0
    for row in rows:
        before = old.get(row.key)
        if before is None:
            kept.append(row)
            continue
        values = {name: getattr(before, name) for name in _EDITABLE if getattr(before, name)}
        unedited = {name for name in values if last.written(name).get(before.id) == values[name]}
        # a value of the data that has changed since the last scan, which nobody edited
        changed = {n for n in unedited & {"label", "fold", "split"}
                   if getattr(row, n) and getattr(row, n) != values[n]}  # fmt: skip
        # times and numbers are not part of the label
        n_changed += bool(changed) or (bool(row.segments) and row.segments != before.segments)
        values = {name: value for name, value in values.items() if name not in changed}
        if redraw and last.splits.get(before.id) == before.split:
            values.pop("split", None)  # drawn with the old settings, not an edit
        if last.groups.get(before.id) == before.group:
            values.pop("group", None)  # inferred, not an edit
        if row.segments:
            values.pop("label", None)  # edits of labels in time belong into the data set
        if not before.label and last.labels.get(before.id):
            values["label"] = ""  # the user clears a label to exclude a clip
        differing += any(
            getattr(row, name) and getattr(row, name) != value for name, value in values.items()
        )
        kept.append(replace(row, **values))
    notes = []
    if n_changed:
        notes.append(
            f"{counted(n_changed, 'row has', 'rows have')} another label, fold or split in the "
            "data than at the last scan; the data's value is taken"
        )
    if differing:
        notes.append(
            f"{counted(differing, 'row')} of manifest.csv "
            f"{'has' if differing == 1 else 'have'} a label, group, fold or split of their own; "
            "it is kept (delete manifest.csv to take the data's)"
        )
    gone = len(set(old) - {row.key for row in rows})
    if gone:
        notes.append(
            f"removed {counted(gone, 'row')} of the last scan, whose files or parts are no longer "
            "listed"
        )
    return kept, notes
