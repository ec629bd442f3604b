"""Scanning: list, probe, keep what people edited, group, split; the result is the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.dataset.groups import infer_groups
from data_prep.dataset.listing import list_data_set
from data_prep.dataset.manifest import (
    MANIFEST_NAME,
    ManifestRow,
    read_manifest,
    with_file_facts,
    write_manifest,
)
from data_prep.dataset.splits import assign_splits
from data_prep.files import write_text_atomically
from data_prep.media.probe import MediaInfo
from data_prep.process.protocol import Failure
from data_prep.settings import LimitSettings, SplitSettings
from data_prep.status import DataSetError, Status

SCAN_NAME = "scan.json"
_EDITABLE = ("label", "group", "fold", "split")

ProbeAll = Callable[[Sequence[str]], Iterable[MediaInfo | Failure]]
"""Probes files, answering in their order; the pipeline passes one that uses worker processes."""


@dataclass(frozen=True)
class Scan:
    """Rows of the manifest and what there is to say about them."""

    rows: list[ManifestRow]
    notes: list[str]


def scan(
    data: Path, work: Path, settings: SplitSettings, limits: LimitSettings, probe_all: ProbeAll
) -> Scan:
    """Scan a data set and write work/manifest.csv. Raises DataSetError.

    Rows already there keep their edited label, group, fold and split; files whose size and time
    did not change are not opened again.
    """
    listed = [with_file_facts(row) for row in list_data_set(data)]
    manifest = work / MANIFEST_NAME
    old = {row.key: row for row in read_manifest(manifest)} if manifest.exists() else {}
    if old and not old.keys() & {row.key for row in listed}:
        raise DataSetError(
            f"{manifest} lists other files than {data} holds, none in common; use another --work, "
            "or delete the manifest to start anew"
        )
    notes: list[str] = []
    rows = [_within_limits(row, limits) for row in _probed(listed, old, probe_all)]
    if old:
        rows, merge_notes = _keep_edits(rows, old, _last_scan(work), settings)
        notes += merge_notes
    ungrouped = {row.key for row in rows if not row.group}
    has_column = any(row.group for row in listed)
    rows, group_note = infer_groups(rows, settings.infer_groups, has_column)
    rows, split_notes = assign_splits(rows, settings)
    notes += [group_note, *split_notes]
    write_manifest(manifest, rows)
    record = {
        "split_settings": settings.model_dump(),
        "labels": {row.id: row.label for row in rows if row.label},
        "splits": {row.id: row.split for row in rows if row.split},
        "inferred_groups": {row.id: row.group for row in rows if row.key in ungrouped},
    }
    write_text_atomically(work / SCAN_NAME, json.dumps(record, indent=1) + "\n")
    return Scan(rows, notes)


def _probed(
    listed: list[ManifestRow],
    old: dict[tuple[str, float | None, float | None], ManifestRow],
    probe_all: ProbeAll,
) -> list[ManifestRow]:
    known: dict[str, ManifestRow] = {}
    for row in old.values():
        known[row.path] = row
    fresh = sorted({row.path for row in listed if not _unchanged(row, known.get(row.path))})
    answers = dict(zip(fresh, probe_all(fresh), strict=True))
    return [
        with_probe(row, answers[row.path]) if row.path in answers else _facts(row, known[row.path])
        for row in listed
    ]


def _within_limits(row: ManifestRow, limits: LimitSettings) -> ManifestRow:
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


def _facts(row: ManifestRow, old: ManifestRow) -> ManifestRow:
    names = (
        "status", "error", "duration_s", "width_px", "height_px", "frame_rate_hz",
        "rotation_deg", "has_video", "has_audio",
    )  # fmt: skip
    return replace(row, **{name: getattr(old, name) for name in names})


@dataclass(frozen=True)
class _LastScan:
    """What the last scan itself put into the manifest, so that people's edits can be told apart."""

    labels: dict[str, str]
    splits: dict[str, str]
    groups: dict[str, str]
    split_settings: dict[str, object] | None


def _last_scan(work: Path) -> _LastScan:
    try:
        record = json.loads((work / SCAN_NAME).read_text("utf-8"))
        return _LastScan(
            dict(record["labels"]),
            dict(record["splits"]),
            dict(record["inferred_groups"]),
            record["split_settings"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return _LastScan({}, {}, {}, None)  # without a record every value counts as people's own


def _keep_edits(
    rows: list[ManifestRow],
    old: dict[tuple[str, float | None, float | None], ManifestRow],
    last: _LastScan,
    settings: SplitSettings,
) -> tuple[list[ManifestRow], list[str]]:
    redraw = last.split_settings is not None and last.split_settings != settings.model_dump()
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
