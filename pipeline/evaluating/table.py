"""What an evaluation said of each clip, read back from its predictions.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from data_prep.cells import unguarded

Key = tuple[str, str, str]
"""(path, start_s, end_s) of a clip."""


@dataclass(frozen=True)
class Said:
    """One clip: its label and group, and what was said of it ("" where nothing could be)."""

    label: str
    group: str
    predicted: str
    probability: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


def read_said(table: Path) -> dict[Key, Said]:
    """Every row of a predictions.csv that eval wrote. Raises OSError, KeyError, ValueError."""
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {
            (unguarded(row["path"]), row.get("start_s") or "", row.get("end_s") or ""): Said(
                unguarded(row["label"]), unguarded(row["group"]), unguarded(row["predicted"]),
                row["probability"],
            )
            for row in csv.DictReader(file)
        }  # fmt: skip
