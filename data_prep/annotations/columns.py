"""Which column of somebody's table is what: by its name, by a key, and what to suggest else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.csv_table import Table, normal_name
from data_prep.settings import LabelSettings
from data_prep.status import DataSetError

FIELDS = ("path", "label", "start_s", "end_s", "group", "fold", "split")
_SETTING_OF = {"path": "path_column", "label": "column", "start_s": "start_column",
         "end_s": "end_column", "group": "group_column", "fold": "fold_column",
         "split": "split_column"}  # fmt: skip
# Names that tables of this field give their columns: suggested, never taken silently. Times are
# not among those of UrbanSound8K, whose start and end lie in another recording.
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
}  # fmt: skip
_MOST_NAMED = 44


@dataclass(frozen=True)
class Columns:
    """The column of each of OWN, None where there is none; several for a path in pieces."""

    of: dict[str, tuple[str, ...]]

    def cell(self, own: str, cells: dict[str, str]) -> str:
        """What a row says; pieces of a path are joined, a missing column is empty."""
        parts = [cells.get(name, "").strip() for name in self.of.get(own, ())]
        return "/".join(part for part in parts if part)

    def raw_cell(self, own: str, cells: dict[str, str]) -> str:
        """The same with the blanks around it."""
        return "/".join(cells.get(name, "") for name in self.of.get(own, ()))

    @property
    def used(self) -> frozenset[str]:
        return frozenset(name for names in self.of.values() for name in names)


def is_header(settings: LabelSettings, names: Sequence[str]) -> bool:
    """Whether these names hold one for the path."""
    return bool(_named("path", [name.strip() for name in names], settings))


def find_columns(path: Path, table: Table, settings: LabelSettings, needs_label: bool) -> Columns:
    """Which columns a table has. Raises DataSetError that says what to write else."""
    of = {own: _named(own, table.names, settings) for own in FIELDS}
    for own, key in _SETTING_OF.items():
        wished = getattr(settings, key)
        if wished and not of[own]:
            raise DataSetError(
                f"labels.{key}={wished}: {path} has no such column; its columns are: "
                f"{_listed(table.names)}"
            )
    missing = [own for own in ("path", "label") if not of[own] and (own == "path" or needs_label)]
    if missing:
        raise DataSetError(_without(path, table, missing))
    return Columns({own: names for own, names in of.items() if names})


def unused_time_columns(table: Table, columns: Columns, settings: LabelSettings) -> list[str]:
    """The columns that may be times, where no times are read, as keys to write."""
    missing = [own for own in ("start_s", "end_s") if own not in columns.of]
    normal = {normal_name(name): name for name in table.names}
    found = []
    for own in missing:
        name = next((normal[usual] for usual in _COMMON_NAMES[own] if usual in normal), None)
        if name is not None:
            found.append(f"labels.{_SETTING_OF[own]}={_quoted(name)}")
    return found if len(found) == len(missing) else []


def _named(own: str, names: Sequence[str], settings: LabelSettings) -> tuple[str, ...]:
    wished = getattr(settings, _SETTING_OF[own])
    if wished:
        if wished in names:
            return (wished,)
        pieces = tuple(wished.split("/")) if own == "path" else (wished,)
        if all(piece in names for piece in pieces):
            return pieces
        normal = {normal_name(name): name for name in names}
        found = tuple(normal.get(normal_name(piece), "") for piece in pieces)
        return found if all(found) else ()
    if own in names:
        return (own,)
    return tuple(name for name in names if normal_name(name) == own)[:1]


def _without(path: Path, table: Table, missing: list[str]) -> str:
    """The message where there is no column for the path or the label."""
    what = " and no column ".join(f"'{own}'" for own in missing)
    keys = []
    for own in missing:
        name = _usual(own, table) or (_by_content(table) if own == "label" else None)
        if name is not None:
            keys.append(f"labels.{_SETTING_OF[own]}={_quoted(name)}")
    hint = (
        f". If these are meant: {' '.join(keys)}"
        if keys
        else (
            ". Say which columns are meant: "
            + " ".join(f"labels.{_SETTING_OF[own]}=NAME" for own in missing)
        )
    )
    seen = ""
    for key in keys:
        if key.startswith("labels.column="):
            name = key.partition("=")[2].strip("'")
            counts = Counter(cells.get(name, "").strip() for _, cells in table.rows)
            most = ", ".join(f"{value} {n}" for value, n in counts.most_common(3))
            seen = f" ('{name}' holds {len(counts)} different values: {most})"
    return f"{path} has no column {what}; its columns are: {_listed(table.names)}{hint}{seen}"


def _usual(own: str, table: Table) -> str | None:
    normal = {normal_name(name): name for name in table.names}
    return next((normal[usual] for usual in _COMMON_NAMES[own] if usual in normal), None)


def _by_content(table: Table) -> str | None:
    """The column of words with the fewest different values, each of which comes twice at least."""
    best: tuple[int, str] | None = None
    for name in table.names:
        counts = Counter(cells.get(name, "").strip() for _, cells in table.rows)
        words = [value for value in counts if value and not value.replace(".", "").isdigit()]
        if len(words) >= 2 and len(words) == len(counts) and min(counts.values()) >= 2:
            best = min(best or (len(words), name), (len(words), name))
    return best[1] if best else None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _quoted(name: str) -> str:
    return name if name.replace("_", "").isalnum() else f"'{name}'"
