"""The manifest, manifest.csv: one row per file or labelled segment, including failures.

Labels, groups, folds and splits are normalised here, by one rule for all sources.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from data_prep.clip import ClipSource
from data_prep.csv_table import csv_text, escape_formula, read_table, unescape_formula
from data_prep.files import write_text_atomically
from data_prep.segments import (
    SEGMENTS_NAME,
    LabelledSegment,
    read_segments,
    write_segments,
)
from data_prep.status import DataSetError, Status

# byte order mark, zero width space, word joiner, soft hyphen: left behind by editors and web pages
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad]")
_WHITESPACE = re.compile(r"\s+")
_MAX_NAMED = 3


def normalise_label(text: str) -> str:
    """NFC, without invisible characters, with whitespace collapsed and stripped."""
    return _WHITESPACE.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def printable_name(name: str) -> str:
    """A folder name as printable text; bytes that are not UTF-8 become \\xNN, so they differ."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def merged_label_notes(raw: Iterable[str]) -> list[str]:
    """Notes on labels with several spellings that were merged into one."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for text in raw:
        spellings[normalise_label(text)].add(text)
    return [
        f"the label '{label}' is written in {len(variants)} ways "
        # ascii, since the variants may look the same
        f"({', '.join(ascii(text) for text in sorted(variants)[:_MAX_NAMED])}): merged into one"
        for label, variants in sorted(spellings.items())
        if label and len(variants) > 1
    ]


def similar_label_notes(labels: Iterable[str]) -> list[str]:
    """Notes on labels that differ only in case or punctuation; they are not merged."""
    similar: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        folded = unicodedata.normalize("NFKC", label).casefold()
        # labels of punctuation alone would all have the empty key
        similar["".join(c for c in folded if c.isalnum()) or label].add(label)
    return [
        f"the labels {' and '.join(repr(name) for name in sorted(names))} differ only in "
        "case or punctuation and are not merged; to merge them, rename the folder, or edit the "
        "label column of manifest.csv"
        for names in similar.values()
        if len(names) > 1
    ]


MANIFEST_NAME = "manifest.csv"
_SPLIT_NAMES = {"validation": "val", "valid": "val", "dev": "val", "training": "train"}


@dataclass(frozen=True)
class ManifestRow:
    """One file, or one labelled segment of a file. Empty text and None mean "unknown"."""

    path: str
    start_s: float | None = None
    end_s: float | None = None
    label: str = ""
    group: str = ""
    fold: str = ""
    split: str = ""
    status: Status = Status.OK
    error: str = ""
    duration_s: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    frame_rate_hz: float | None = None
    rotation_deg: int | None = None
    has_video: bool | None = None
    has_audio: bool | None = None
    size_bytes: int | None = None
    mtime: float | None = None
    id: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    """Additional columns of the user's table, passed through unchanged."""
    segments: tuple[LabelledSegment, ...] = ()
    """Labelled segments in order, of a file that is labelled in time; stored in segments.csv."""
    other_segments: tuple[LabelledSegment, ...] = ()
    """Those of further annotators of the same file; stored there too."""

    def with_segments(self, segments: Sequence[LabelledSegment]) -> ManifestRow:
        """The row with its segments, and those of further annotators, in order."""
        return replace(
            self,
            segments=tuple(each for each in segments if not each.annotator),
            other_segments=tuple(each for each in segments if each.annotator),
        )

    @property
    def all_segments(self) -> tuple[LabelledSegment, ...]:
        """Of all annotators."""
        return (*self.segments, *self.other_segments)

    @property
    def group_or_path(self) -> str:
        """The group; a clip without one is a group of its own."""
        return self.group or self.path

    @property
    def source(self) -> ClipSource:
        return ClipSource(self.id, self.path, self.start_s, self.end_s, self.planned_duration_s)

    @property
    def planned_duration_s(self) -> float | None:
        """Duration of the clip in seconds as known before decoding, or None."""
        ends = [end_s for end_s in (self.end_s, self.duration_s) if end_s is not None]
        return max(0.0, min(ends) - (self.start_s or 0.0)) if ends else None

    @property
    def end_or_inf_s(self) -> float:
        """end_s; inf if the clip lasts to the end of its file."""
        return math.inf if self.end_s is None else self.end_s

    @property
    def key(self) -> tuple[str, float | None, float | None]:
        """Identity of a row across scans: path, start and end."""
        return self.path, self.start_s, self.end_s

    @property
    def trainable(self) -> bool:
        """Whether the clip has a label and can be decoded."""
        return bool(self.label) and self.status.usable


RowLabels = Callable[[ManifestRow], Sequence[str]]
"""The labels of a trainable row, at least one, each as often as it occurs; depends on the task."""


def whole_label(row: ManifestRow) -> tuple[str]:
    """RowLabels of clips with one label each."""
    return (row.label,)


def labelled_s(row: ManifestRow, label: str, row_labels: RowLabels) -> float:
    """Seconds of a row that have this label, one of `row_labels(row)`, as far as known.

    Of a file with segments their lengths; what they leave is of the label that has none. Otherwise
    the labels of a row have equal shares.
    """
    whole_s = row.planned_duration_s or 0.0
    if not row.segments:
        labels = list(row_labels(row))
        return whole_s * labels.count(label) / len(labels)
    of_label: dict[str, float] = defaultdict(float)
    for segment in row.segments:
        of_label[segment.label] += max(0.0, min(segment.end_s, whole_s) - segment.start_s)
    return of_label[label] if label in of_label else whole_s - sum(of_label.values())


_NOT_CELLS = ("extra", "segments", "other_segments")
COLUMNS = tuple(f.name for f in fields(ManifestRow) if f.name not in _NOT_CELLS)
_FLOATS = frozenset({"start_s", "end_s", "duration_s", "frame_rate_hz", "mtime"})
_INTS = frozenset({"width_px", "height_px", "rotation_deg", "size_bytes"})
_BOOLS = frozenset({"has_video", "has_audio"})


def clip_id(row: ManifestRow) -> str:
    """Hash of path, size, mtime, start and end, so that a modified file is a new clip."""
    parts = (row.path, row.size_bytes, row.mtime, row.start_s, row.end_s)
    text = "\0".join("" if part is None else str(part) for part in parts)  # no path has a NUL
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def with_file_facts(row: ManifestRow) -> ManifestRow:
    """The row with size, mtime and id of the current file."""
    try:
        stat = os.stat(row.path)  # noqa: PTH116 - follows links, and takes any name
        row = replace(row, size_bytes=stat.st_size, mtime=round(stat.st_mtime, 6))
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        row = replace(row, size_bytes=None, mtime=None)
    return replace(row, id=clip_id(row))


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the rows atomically, sorted by path and start, and their segments, if any, beside."""
    segments_of = {row.path: row.all_segments for row in rows if row.all_segments}
    if segments_of:  # first: a manifest whose segments are missing would have no labels in time
        write_segments(path.with_name(SEGMENTS_NAME), segments_of)
    else:  # those of an earlier scan would be read as labels of the same files
        path.with_name(SEGMENTS_NAME).unlink(missing_ok=True)
    extra = sorted({name for row in rows for name in row.extra} - set(COLUMNS))
    # sorted, so that scanning an unchanged data set gives the same file
    ordered = sorted(rows, key=lambda row: (row.path, row.start_s or 0.0, row.end_s or 0.0))
    cells = (
        [
            *(_cell(getattr(row, name)) for name in COLUMNS),
            *(row.extra.get(name, "") for name in extra),
        ]
        for row in ordered
    )
    header = [*COLUMNS, *(escape_formula(name) for name in extra)]  # extra names are the user's
    write_text_atomically(path, csv_text(header, cells))


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest, possibly edited by the user. Raises DataSetError naming the line."""
    if not path.exists():
        raise DataSetError(f"{path} does not exist; run `framewave prep DATA --work …` first")
    rows, segments_of = [], read_segments(path.with_name(SEGMENTS_NAME))
    for number, cells in read_table(path, _is_header).rows:
        cells = {name: unescape_formula(cell) for name, cell in cells.items()}
        known = {name: cells.get(name, "") for name in COLUMNS}
        extra = {
            unescape_formula(name): value for name, value in cells.items() if name not in known
        }
        try:
            values = {name: _parse(name, text) for name, text in known.items()}
            row = ManifestRow(**values, extra=extra)  # type: ignore[arg-type]
            rows.append(row.with_segments(segments_of.get(row.path, ())))
        except ValueError as error:
            raise DataSetError(f"{path}, line {number}: {error}") from error
    return rows


def _is_header(names: Sequence[str]) -> bool:
    return "path" in names and "status" in names


def normal_split(text: str) -> str:
    """train, val, test or "" from common spellings. Raises ValueError for other words."""
    split = text.strip().lower()
    split = _SPLIT_NAMES.get(split, split)
    if split not in ("", "train", "val", "test"):
        raise ValueError(f"split '{split}' is not one of train, val, test")
    return split


def usable_sources(rows: Iterable[ManifestRow]) -> list[ClipSource]:
    """Sources of the clips that are labelled and usable, in manifest order."""
    return [row.source for row in rows if row.trainable]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):  # before numbers: a bool is an int
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def _parse(name: str, text: str) -> object:
    if name in ("path", "error"):
        return text  # normalising could name another file
    text = normalise_label(text)
    if name == "status":
        if text not in Status._value2member_map_:
            raise ValueError(f"status '{text}' is not one of {', '.join(Status)}")
        return Status(text)
    if name == "split":
        return normal_split(text)
    if name in _BOOLS:
        # any other text means unknown
        return {"yes": True, "no": False, "true": True, "false": False}.get(text.lower())
    if name in _INTS | _FLOATS:
        if not text:
            return None
        try:
            number = float(text.replace(",", "."))  # a spreadsheet may write decimal commas
        except ValueError:
            raise ValueError(f"{name} '{text}' is not a number") from None
        if not math.isfinite(number) or (number < 0 and name != "mtime"):
            raise ValueError(f"{name} '{text}' is out of range")  # an mtime may lie before 1970
        return number if name in _FLOATS else int(number)
    return text
