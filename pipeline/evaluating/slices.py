"""Accuracy of parts of the clips: by what they have, how long they are, and the user's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import numpy as np

from data_prep.dataset.manifest import ManifestRow
from pipeline.evaluating.metrics import accuracy_with_interval
from pipeline.records.predictions import Prediction

_LENGTHS_S = ((0, 5), (5, 15), (15, 60), (60, 600), (600, float("inf")))
_MOST_VALUES = 50
_LEAST_CLIPS = 10
_LEAST_SHOWN = 5  # clips of a value; rarer ones are shown together
_FEW_VALUES = 5  # are shown however few clips there are
_NUMBERS = 0.9  # of a column's cells, from which on its values are put into ranges
_FEW_NUMBERS = 8  # different ones are shown one by one
_RANGES = 4
_GROUPING = frozenset({"group", "fold"})
OTHERS = "other values"
_DOUBT = 0.05
_BUILT_IN = frozenset({"has", "length", "status", "group", "fold"})


@dataclass(frozen=True)
class Slice:
    """Clips that have one value of a property in common."""

    value: str
    n: int
    n_groups: int
    accuracy: float
    interval: list[float] | None
    surely_weaker: bool
    """Than the other clips, by more than chance; the number of parts is allowed for."""


def slices(
    rows: Sequence[ManifestRow],
    predictions: Sequence[Prediction],
    right: Sequence[bool] | np.ndarray,
) -> dict[str, list[dict[str, Any]]]:
    """{property: its values' slices}, properties with one value only left out. All [N]."""
    rights = np.asarray(right, bool)
    kinds_of = {}
    for name, values in _properties(rows, predictions):
        kinds = _kinds(name, values)
        if 1 < len(kinds) <= _MOST_VALUES:
            kinds_of[name] = kinds, values
    n_tests = sum(_n_tests(kinds, values) for name, (kinds, values) in kinds_of.items()
                  if name not in _GROUPING)  # fmt: skip
    return {
        name: [asdict(_slice(kind, values, rows, rights, n_tests)) for kind in kinds]
        for name, (kinds, values) in kinds_of.items()
    }


def _n_tests(kinds: Sequence[str], values: Sequence[str]) -> int:
    """How many parts of a property are large enough to be told weaker; of two parts one is."""
    counts = Counter(values)
    n = sum(_LEAST_CLIPS <= counts[kind] <= len(values) - _LEAST_CLIPS for kind in kinds)
    return 1 if len(kinds) == 2 and n else n


def _in_ranges(values: Sequence[str]) -> list[str] | None:
    """A column of numbers as ranges with about equally many clips each; None for other columns."""
    numbers = [_number(value) for value in values]
    known = np.array([number for number in numbers if number is not None])
    filled = sum(value != "" for value in values)
    if not filled or known.size < _NUMBERS * filled or np.unique(known).size <= _FEW_NUMBERS:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)[1:-1], method="nearest"))
    names = _range_names(known, edges)
    return [
        "" if number is None else names[int(np.searchsorted(edges, number, side="right"))]
        for number in numbers
    ]


def _range_names(known: np.ndarray, edges: np.ndarray) -> list[str]:
    bounds = [float(known.min()), *edges.tolist(), float(known.max())]
    digits = next(d for d in (*range(4, 16), 17) if len({f"{b:.{d}g}" for b in bounds})
                  >= len(set(bounds)))  # fmt: skip
    shown = [f"{b:.0f}" if b.is_integer() and abs(b) < 1e15 else f"{b:.{digits}g}" for b in bounds]
    last = len(bounds) - 2
    return [
        f"{low} to {high}" if k == last else f"{low} to under {high}"
        for k, (low, high) in enumerate(pairwise(shown))
    ]


def _number(value: str) -> float | None:
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _without_rare(values: Sequence[str]) -> list[str]:
    """Values of few clips each as one: they say nothing one by one, and are many."""
    counts = Counter(values)
    rare = {value for value, n in counts.items() if n < _LEAST_SHOWN}
    if len(rare) < 2 or (len(rare) == len(counts) <= _FEW_VALUES):
        return list(values)
    return [OTHERS if value in rare else value for value in values]


def _kinds(name: str, values: Sequence[str]) -> list[str]:
    if name == "length":
        kinds = [*(_length_name(low, high) for low, high in _LENGTHS_S), "unknown"]
        return [kind for kind in kinds if kind in values]
    return sorted(set(values), key=lambda value: (value == "", value == OTHERS, _place(value)))


def _place(value: str) -> tuple[float, str]:
    """Ranges by their begin, other values by name."""
    begin = _number(value.partition(" to ")[0])
    return (float("-inf") if begin is None else begin), value


def _slice(
    kind: str, values: Sequence[str], rows: Sequence[ManifestRow], right: np.ndarray, n_tests: int
) -> Slice:
    mask = np.array([value == kind for value in values])
    groups = [row.group_or_path for row in rows]
    inside = [group for group, there in zip(groups, mask, strict=True) if there]
    outside = [group for group, there in zip(groups, mask, strict=True) if not there]
    accuracy, interval = accuracy_with_interval(right[mask], inside)
    weaker = mask.sum() >= _LEAST_CLIPS and surely_less(
        right[mask], inside, right[~mask], outside, 1 - _DOUBT / max(1, n_tests)
    )
    return Slice(
        kind or "(empty)", int(mask.sum()), len(set(inside)), accuracy, interval, bool(weaker)
    )


def surely_less(
    right: np.ndarray,
    groups: Sequence[str],
    others: np.ndarray,
    other_groups: Sequence[str],
    level: float,
) -> bool:
    """Whether the accuracy on some clips is below that on others by more than chance.

    The difference's upper end is made of the two intervals (Newcombe, "Interval estimation for the
    difference between independent proportions", 1998). Groups on both sides make it wider than
    need be. False where one side is of too few groups.
    """
    if not others.size:
        return False
    accuracy, interval = accuracy_with_interval(right, groups, level)
    other, other_interval = accuracy_with_interval(others, other_groups, level)
    if interval is None or other_interval is None:
        return False
    above, below = interval[1] - accuracy, other - other_interval[0]
    return bool(accuracy - other + np.hypot(above, below) < 0)


def _properties(
    rows: Sequence[ManifestRow], predictions: Sequence[Prediction]
) -> Iterator[tuple[str, list[str]]]:
    """(name, a value for each clip)."""
    yield "has", [_has(prediction) for prediction in predictions]
    yield "length", [_length(prediction.duration_s) for prediction in predictions]
    yield "status", [str(prediction.status) for prediction in predictions]
    own = {
        f"column {name}" if name in _BUILT_IN else name: [
            row.extra.get(name, "").strip() for row in rows
        ]
        for name in sorted({name for row in rows for name in row.extra})
    }
    suffixes = [PurePath(row.path).suffix.lower().lstrip(".") for row in rows]
    own = {"column file type" if name == "file type" else name: v for name, v in own.items()}
    for name, values in ({"file type": suffixes} | own).items():
        ranges = _in_ranges(values)
        if ranges is not None:
            yield name, ranges
        elif len(set(values)) <= len(values) / 2:  # else it names clips, not kinds of them
            yield name, _without_rare(values)
    for name, values in {"fold": [row.fold for row in rows],
                         "group": [row.group for row in rows]}.items():  # fmt: skip
        if len(set(values)) <= len(values) / 2:
            yield name, values


def _has(prediction: Prediction) -> str:
    parts = [
        name
        for name, there in (("picture", prediction.has_video), ("sound", prediction.has_audio))
        if there
    ]
    return " and ".join(parts) + (" only" if len(parts) == 1 else "")


def _length(duration_s: float | None) -> str:
    if duration_s is None:
        return "unknown"
    low, high = next((low, high) for low, high in _LENGTHS_S if duration_s < high)
    return _length_name(low, high)


def _length_name(low: float, high: float) -> str:
    if high == float("inf"):
        return f"{low:g} s and longer"
    return f"under {high:g} s" if low == 0 else f"{low:g} to {high:g} s"
