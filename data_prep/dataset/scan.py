"""Scanning: list, probe, keep what people edited, group, split; the result is the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.annotations.listing import list_data_set
from data_prep.clip import SEGMENT_AFTER_END, check_segment
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
    read_manifest,
    with_file_facts,
    write_manifest,
)
from data_prep.media.probe import MediaInfo
from data_prep.settings import LabelSettings, LimitSettings, SplitSettings
from data_prep.status import DataSetError, MediaError, Status
from data_prep.worker.protocol import Failure

SCAN_NAME = "scan.json"
_FEW_GROUPS = 2
_TOUCHING_S = 0.01
_EDITABLE = ("label", "group", "fold", "split")

ProbeAll = Callable[[Sequence[str]], Iterable[MediaInfo | Failure]]
"""Probes files, answering in their order; the pipeline passes one that uses worker processes."""


@dataclass(frozen=True)
class Scan:
    """Rows of the manifest and what there is to say about them."""

    rows: list[ManifestRow]
    notes: list[str]
    split: SplitSettings = field(default_factory=SplitSettings)
    """What the clips are divided by: what was asked for, over what the folder began with."""
    labels: LabelSettings = field(default_factory=LabelSettings)


def scan(
    data: Path,
    work: Path,
    settings: SplitSettings,
    limits: LimitSettings,
    probe_all: ProbeAll,
    labels: LabelSettings | None = None,
    kept_hz: float | None = None,
) -> Scan:
    """Scan a data set and write work/manifest.csv. Raises DataSetError.

    Rows already there keep their edited label, group, fold and split; files whose size and time
    did not change are not opened again. kept_hz: the highest frequency that clips keep, by which
    files with sound are looked into anew where it was another.
    """
    last = _last_scan(work)
    labels = last.label_settings if labels is None or labels == LabelSettings() else labels
    asked, settings = settings, _with_stored_settings(settings, last)
    listing = list_data_set(data, labels)
    listed = [with_file_facts(row) for row in listing.rows]
    manifest = work / MANIFEST_NAME
    old = {row.key: row for row in read_manifest(manifest)} if manifest.exists() else {}
    if old and not old.keys() & {row.key for row in listed}:
        raise DataSetError(
            f"{manifest} lists other files than {data} holds, none in common; use another --work, "
            "or delete the manifest to start anew"
        )
    rows = [
        _validated_row(row, limits)
        for row in _probed(listed, _reusable_rows(old, last, kept_hz), probe_all)
    ]
    notes = [*listing.notes, *_part_notes(rows)]
    if old:
        rows, merge_notes = _keep_edits(rows, old, last, settings)
        notes += [*merge_notes, *_change_notes(asked, settings, last)]
    ungrouped = {row.key for row in rows if not row.group}
    has_column = any(row.group for row in listed)
    if settings == last.split_settings:  # what lay too near to judged parts was no choice of people
        rows = [replace(row, split=row.split or last.left_out.get(row.id, "")) for row in rows]
    rows, left_out, division_notes = _assign_groups_and_splits(
        rows, settings, ungrouped, has_column
    )
    write_manifest(manifest, rows)
    record = {
        "split_settings": settings.model_dump(),
        "label_settings": labels.model_dump(),
        "kept_hz": kept_hz,
        "labels": {row.id: row.label for row in rows if row.label},
        "splits": {row.id: row.split for row in rows if row.split},
        "inferred_groups": {row.id: row.group for row in rows if row.key in ungrouped},
        "left_out": left_out,
    }
    write_text_atomically(work / SCAN_NAME, json.dumps(record, indent=1) + "\n")
    return Scan(rows, [*notes, *division_notes], settings, labels)


def _assign_groups_and_splits(
    rows: list[ManifestRow], settings: SplitSettings, ungrouped: Collection[Key], has_column: bool
) -> tuple[list[ManifestRow], dict[str, str], list[str]]:
    """Rows with groups and splits; {id: split} of those that lost theirs, since they lie too near
    to judged ones; and what is to be said of them all.

    ungrouped: rows without a group of their own; has_column: whether the data set names groups.
    """
    rows, group_note = infer_groups(rows, settings.infer_groups, has_column)
    if settings.by == "time":
        rows = time_blocks(rows, frozenset(row.key for row in rows if row.key not in ungrouped))
        group_note = "groups: blocks of time within recordings (split.by=time), which say nothing "
        group_note += "about other recordings"
    rows, split_notes = assign_splits(rows, settings)
    left_out: dict[str, str] = {}
    if settings.by == "time":
        drawn = {row.id: row.split for row in rows}
        rows, n_left_out = without_neighbours(rows, settings.gap_s)
        left_out = {row.id: drawn[row.id] for row in rows if drawn[row.id] and not row.split}
        emptied = sorted(set(left_out.values()) - {row.split for row in rows})
        split_notes.append(
            f"{n_left_out} clips lie within split.gap_s={settings.gap_s:g} s of judged ones and "
            "are not trained on"
            + (f": none is left for {' and '.join(emptied)}, take a smaller one" if emptied else "")
        )
    return rows, left_out, [group_note, *split_notes, *_few_recordings(rows, settings)]


def _few_recordings(rows: Sequence[ManifestRow], settings: SplitSettings) -> list[str]:
    """What is to be said where nearly all labelled parts are of one or two recordings."""
    usable = [row for row in rows if row.trainable]
    files = divisible_recordings(rows)
    if settings.by == "time" or not files or len({row.group for row in usable}) > _FEW_GROUPS:
        return []
    n_parts, n_files = sum(map(len, files.values())), len(files)
    return [
        f"{n_parts} of {len(usable)} labelled clips are parts of {n_files} "
        f"recording{'s' if n_files > 1 else ''}, so hardly any can be tested by others. "
        "split.by=time divides recordings into blocks of time: that says how well the rest of them "
        "is labelled, and nothing about other days, places or individuals"
    ]


def _reusable_rows(
    old: dict[Key, ManifestRow], last: _LastScan, kept_hz: float | None
) -> dict[Key, ManifestRow]:
    """Rows of before without those whose remark on high sound may be another now."""
    if last.kept_hz == kept_hz:
        return old
    return {key: row for key, row in old.items() if not row.has_audio}


def _with_stored_settings(settings: SplitSettings, last: _LastScan) -> SplitSettings:
    """What was asked for, over what the folder was split with before."""
    if last.split_settings is None:
        return settings
    asked = {name: getattr(settings, name) for name in settings.model_fields_set}
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
        f"{', '.join(changed)}: clips are split anew, and what models were trained on before may "
        "be test clips now"
    ]


def _probed(
    listed: list[ManifestRow],
    old: dict[tuple[str, float | None, float | None], ManifestRow],
    probe_all: ProbeAll,
) -> list[ManifestRow]:
    known: dict[str, ManifestRow] = {}
    for row in old.values():
        if row.path not in known or row.status.usable:
            known[row.path] = row
    fresh = sorted({row.path for row in listed if not _unchanged(row, known.get(row.path))})
    answers = dict(zip(fresh, probe_all(fresh), strict=True))
    return [
        with_probe(row, answers[row.path])
        if row.path in answers
        else _known_facts(row, old.get(row.key), known[row.path])
        for row in listed
    ]


def _validated_row(row: ManifestRow, limits: LimitSettings) -> ManifestRow:
    """The row refused where its label is too long or its part is none of the file."""
    if row.status.usable and row.duration_s is not None:
        try:
            cut = check_segment(row.start_s, row.end_s, row.duration_s)
        except MediaError as error:
            return replace(row, status=error.status, error=str(error))
        if cut:
            known = [row.error] if row.error else []
            said = known if cut in row.error else [*known, cut]
            row = replace(row, status=Status.PARTIAL, error="; ".join(said))
    if len(row.label) <= limits.max_label_chars:
        return row
    reason = (
        f"its label has {len(row.label)} characters, over "
        f"limits.max_label_chars={limits.max_label_chars}"
    )
    return replace(row, status=Status.REFUSED, error=reason, label="")


def _unchanged(row: ManifestRow, old: ManifestRow | None) -> bool:
    return (
        old is not None
        and old.size_bytes == row.size_bytes
        and old.mtime == row.mtime
        and old.status in (Status.OK, Status.PARTIAL, Status.NOT_MEDIA, Status.NO_USABLE_STREAM)
    )


def with_probe(row: ManifestRow, answer: MediaInfo | Failure) -> ManifestRow:
    """The row with what the probe found."""
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
        rotation_deg=answer.rotation_deg if answer.has_video else None,
        has_video=answer.has_video,
        has_audio=answer.has_audio,
    )


def _part_notes(rows: Sequence[ManifestRow]) -> list[str]:
    """What is to be said of parts that begin behind the end of their files, or overlap."""
    parts = [row for row in rows if row.start_s is not None or row.end_s is not None]
    behind = [row for row in parts if row.error.startswith(SEGMENT_AFTER_END)]
    notes = []
    if behind:
        question = "; are the times milliseconds?" if len(behind) > len(parts) / 2 else ""
        notes.append(
            f"{len(behind)} of {len(parts)} parts begin after the end of their file (for example "
            f"{behind[0].path}, {behind[0].start_s:g} s) and cannot be used{question}"
        )
    overlapping = _overlapping(parts)
    if overlapping is not None:
        count, first, second = overlapping
        notes.append(
            f"{count} parts overlap parts of another label (for example {first.path}: "
            f"{first.label} from {first.start_s or 0:g} s, {second.label} from "
            f"{second.start_s or 0:g} s)"
        )
    return notes


def _overlapping(parts: Sequence[ManifestRow]) -> tuple[int, ManifestRow, ManifestRow] | None:
    """How many parts overlap one before them that has another label, and the first two."""
    count, example = 0, None
    latest: dict[str, ManifestRow] = {}  # of each label of this file, the part that ends last
    path = ""
    for row in sorted(parts, key=lambda row: (row.path, row.start_s or 0.0)):
        if row.path != path:
            latest, path = {}, row.path
        begin_s = row.start_s or 0.0
        under_way = [
            other for label, other in latest.items()
            if label != row.label and _end_s(other) > begin_s + _TOUCHING_S
        ]  # fmt: skip
        if under_way:
            count += 1
            example = example or (under_way[0], row)
        if row.label not in latest or _end_s(row) > _end_s(latest[row.label]):
            latest[row.label] = row
    return None if example is None else (count, *example)


def _end_s(row: ManifestRow) -> float:
    return float("inf") if row.end_s is None else row.end_s


def _known_facts(row: ManifestRow, same: ManifestRow | None, other: ManifestRow) -> ManifestRow:
    """What was found before: of the file in any of its rows, of the part only in its own."""
    names = (
        "duration_s", "width_px", "height_px", "frame_rate_hz", "rotation_deg", "has_video",
        "has_audio",
    )  # fmt: skip
    found = {name: getattr(same or other, name) for name in names}
    row = replace(row, **found)
    if same is not None:
        return replace(row, status=same.status, error=same.error)
    return row if other.status.usable else replace(row, status=other.status, error=other.error)


@dataclass(frozen=True)
class _LastScan:
    """What the last scan itself put into the manifest, so that people's edits can be told apart."""

    labels: dict[str, str]
    splits: dict[str, str]
    groups: dict[str, str]
    split_settings: SplitSettings | None
    label_settings: LabelSettings = field(default_factory=LabelSettings)
    kept_hz: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    """Splits of clips that lost theirs, since they lie too near to judged ones."""


def _last_scan(work: Path) -> _LastScan:
    try:
        record = json.loads((work / SCAN_NAME).read_text("utf-8"))
        return _LastScan(
            dict(record["labels"]),
            dict(record["splits"]),
            dict(record["inferred_groups"]),
            SplitSettings.model_validate(record["split_settings"]),
            LabelSettings.model_validate(record.get("label_settings", {})),
            record.get("kept_hz"),
            dict(record.get("left_out", {})),
        )
    except (OSError, ValueError, KeyError, TypeError):  # ValidationError is a ValueError
        return _LastScan({}, {}, {}, None)  # without a record every value counts as people's own


def _keep_edits(
    rows: list[ManifestRow],
    old: dict[tuple[str, float | None, float | None], ManifestRow],
    last: _LastScan,
    settings: SplitSettings,
) -> tuple[list[ManifestRow], list[str]]:
    redraw = last.split_settings is not None and last.split_settings != settings
    kept, differing = [], 0
    for row in rows:
        before = old.get(row.key)
        if before is None:
            kept.append(row)
            continue
        values = {name: getattr(before, name) for name in _EDITABLE if getattr(before, name)}
        if redraw and last.splits.get(before.id) == before.split:
            values.pop("split", None)
        if last.groups.get(before.id) == before.group:
            values.pop("group", None)
        if not before.label and last.labels.get(before.id):
            values["label"] = ""  # people clear a label to leave a clip out
        differing += any(
            getattr(row, name) and getattr(row, name) != value for name, value in values.items()
        )
        kept.append(replace(row, **values))
    notes = []
    if differing:
        notes.append(
            f"{differing} rows of manifest.csv differ from the data's own label, group, fold or "
            "split; the manifest's values are kept (delete it to start anew)"
        )
    gone = len(set(old) - {row.key for row in rows})
    if gone:
        notes.append(f"{gone} files of the last scan are no longer there; their rows are removed")
    return kept, notes
