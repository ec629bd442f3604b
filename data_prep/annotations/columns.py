"""Maps the columns of a user's table to the fields of a row, by name or by setting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.csv_table import Table, normal_name
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError

FIELDS = ("path", "label", "start_s", "end_s", "group", "fold", "split", "annotator")
_SETTING_OF = {"path": "path_column", "label": "column", "start_s": "start_column",
         "end_s": "end_column", "group": "group_column", "fold": "fold_column",
         "split": "split_column", "annotator": "annotator_column"}  # fmt: skip
# Common column names, suggested but never used silently: UrbanSound8K's start and end, for example,
# are times in another recording.
_COMMON_NAMES = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "video", "video_path",
             "media_file_name", "clip", "wav", "begin_path", "begin_file", "in_file",
             "relativepath", "recording", "audio", "slice_file_name", "image"),
    "label": ("species", "common_name", "class", "category", "behavior", "behaviour", "annotation",
              "tag", "scientific_name", "event", "manual_id", "ground_truth", "labels", "target",
              "class_name", "action"),
    "start_s": ("start", "begin", "onset", "start_time", "begin_time_s", "begin_time", "from"),
    "end_s": ("end", "stop", "offset", "end_time", "end_time_s", "stop_s", "to"),
    "group": ("speaker", "subject", "camera", "site", "station", "deployment", "session", "person"),
    "split": ("set", "subset", "partition"),
    "fold": (),
    "annotator": ("coder", "observer", "rater", "labeller", "labeler", "annotator_id", "annotators",
                  "annotated_by", "labelled_by", "labeled_by", "scorer"),
}  # fmt: skip
_MOST_NAMED = 44  # column names in a message


@dataclass(frozen=True)
class Columns:
    """Field → its columns in a table; several if a path is split into pieces."""

    of: dict[str, tuple[str, ...]]

    def cell(self, field: str, cells: dict[str, str]) -> str:
        """The value of a field in a row; pieces of a path are joined, a missing column is ""."""
        parts = [cells.get(name, "").strip() for name in self.of.get(field, ())]
        return "/".join(part for part in parts if part)

    def raw_cell(self, field: str, cells: dict[str, str]) -> str:
        """The same without stripping whitespace."""
        return "/".join(cells.get(name, "") for name in self.of.get(field, ()))

    @property
    def used(self) -> frozenset[str]:
        """All columns that belong to a field."""
        return frozenset(name for names in self.of.values() for name in names)


def is_header(settings: LabelSettings, names: Sequence[str]) -> bool:
    """Whether one of these names is a column for the path."""
    return bool(_named("path", [name.strip() for name in names], settings))


def find_columns(
    path: Path, table: Table, settings: LabelSettings, needs_label: bool, in_time: bool = False
) -> Columns:
    """Find the columns of a table. Raises DataSetError with suggestions if any is missing.

    in_time: whether its lines are segments of files, which several people may have labelled.
    """
    of = {field: _named(field, table.names, settings) for field in FIELDS}
    if not in_time:
        if settings.annotator_column or settings.annotator:
            raise DataSetError(
                "labels.annotator and labels.annotator_column are for labels in time: "
                "task=timeline, forecast or events, with a table of segments"
            )
        del of["annotator"]  # a column like any other
    elif settings.annotator and not of["annotator"]:
        raise DataSetError(
            f"labels.annotator={settings.annotator}: {path} has no column annotator; name it with "
            "labels.annotator_column, or take the key back with labels.annotator=null"
        )
    for field, key in _SETTING_OF.items():
        requested = getattr(settings, key)
        if requested and not of[field]:
            raise DataSetError(
                f"labels.{key}={requested}: {path} has no such column; its columns are: "
                f"{_listed(table.names)}"
            )
    missing = [
        field for field in ("path", "label") if not of[field] and (field == "path" or needs_label)
    ]
    if missing:
        raise DataSetError(_missing_text(path, table, missing))
    return Columns({field: names for field, names in of.items() if names})


def unused_time_columns(table: Table, columns: Columns, settings: LabelSettings) -> list[str]:
    """Settings that would read times from columns that look like times; empty unless all do."""
    missing = [field for field in ("start_s", "end_s") if field not in columns.of]
    normal = {normal_name(name): name for name in table.names}
    found = []
    for field in missing:
        name = next((normal[common] for common in _COMMON_NAMES[field] if common in normal), None)
        if name is not None:
            # as settings: they can be copied into the command
            found.append(f"labels.{_SETTING_OF[field]}={_quoted(name)}")
    return found if len(found) == len(missing) else []  # a lone start or end would be misleading


def other_annotators(table: Table, columns: Columns) -> str:
    """The setting that would read a column that looks like one of annotators; "" if none does."""
    name = None if "annotator" in columns.of else _common_name("annotator", table)
    return "" if name is None else f"labels.annotator_column={_quoted(name)}"


def _named(field: str, names: Sequence[str], settings: LabelSettings) -> tuple[str, ...]:
    requested = getattr(settings, _SETTING_OF[field])
    if requested:
        # exact names first: a column name may itself contain a slash
        if requested in names:
            return (requested,)
        pieces = tuple(requested.split("/")) if field == "path" else (requested,)
        if all(piece in names for piece in pieces):
            return pieces
        normal = {normal_name(name): name for name in names}
        found = tuple(normal.get(normal_name(piece), "") for piece in pieces)
        return found if all(found) else ()
    if field in names:
        return (field,)
    return tuple(name for name in names if normal_name(name) == field)[:1]  # the first, if several


def _missing_text(path: Path, table: Table, missing: list[str]) -> str:
    """The message if there is no column for the path or the label."""
    what = " and no column ".join(f"'{field}'" for field in missing)
    keys = []
    for field in missing:
        name = _common_name(field, table) or (_guess_label(table) if field == "label" else None)
        if name is not None:
            keys.append(f"labels.{_SETTING_OF[field]}={_quoted(name)}")
    hint = (
        f". If these are meant: {' '.join(keys)}"
        if keys
        else (
            ". Say which columns are meant: "
            + " ".join(f"labels.{_SETTING_OF[field]}=NAME" for field in missing)
        )
    )
    values_text = ""
    for key in keys:
        if key.startswith("labels.column="):
            name = key.partition("=")[2].strip("'")
            counts = Counter(cells.get(name, "").strip() for _, cells in table.rows)
            most = ", ".join(f"{value} {n}" for value, n in counts.most_common(3))
            values_text = f" ('{name}' holds {len(counts)} different values: {most})"
    return (
        f"{path} has no column {what}; its columns are: {_listed(table.names)}{hint}{values_text}"
    )


def _common_name(field: str, table: Table) -> str | None:
    normal = {normal_name(name): name for name in table.names}
    return next((normal[common] for common in _COMMON_NAMES[field] if common in normal), None)


def _guess_label(table: Table) -> str | None:
    """Guess the label: the column of words with the fewest values, each at least twice."""
    best: tuple[int, str] | None = None
    for name in table.names:
        counts = Counter(cells.get(name, "").strip() for _, cells in table.rows)
        # numbers are rather times or identifiers
        words = [value for value in counts if value and not value.replace(".", "").isdigit()]
        if len(words) >= 2 and len(words) == len(counts) and min(counts.values()) >= 2:
            best = min(best or (len(words), name), (len(words), name))
    return best[1] if best else None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _quoted(name: str) -> str:
    # quoted, so that it can be pasted into a shell
    return name if name.replace("_", "").isalnum() else f"'{name}'"
