"""Accuracy of parts: every clip in one part of each property, properties of one value left out."""

from __future__ import annotations

import pytest

from data_prep.dataset.manifest import ManifestRow
from data_prep.status import Status
from pipeline.evaluating.slices import slices
from pipeline.records.predictions import Prediction
from tests.metrics_samples import LABELS, clips


def _slices(n: int = 240):
    judged = clips(n)
    right = [clip.prediction.predicted(LABELS) == clip.row.label for clip in judged]
    found = slices([c.row for c in judged], [c.prediction for c in judged], right)
    return found, right


def test_parts_add_up_to_all() -> None:
    found, right = _slices()
    assert list(found) == ["has", "length", "weather", "group"]
    for parts in found.values():
        assert sum(part["n"] for part in parts) == 240
        assert sum(part["n"] * part["accuracy"] for part in parts) == pytest.approx(sum(right))
    assert {part["value"] for part in found["has"]} == {"picture and sound", "picture only"}
    lengths = [part["value"] for part in found["length"]]
    assert lengths == ["under 5 s", "5 to 15 s", "15 to 60 s"]  # in order, not by name


def test_a_column_that_names_clips_is_left_out() -> None:
    rows = [ManifestRow(path=f"{k}", label="a", extra={"id": str(k)}) for k in range(40)]
    said = [Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, 3.0) for row in rows]
    assert slices(rows, said, [True] * 40) == {}


def test_an_empty_value_and_an_unknown_length_are_called_so() -> None:
    rows = [
        ManifestRow(path=f"{k}", label="a", extra={"sky": "" if k % 2 else "blue"})
        for k in range(8)
    ]
    said = [
        Prediction(row.path, Status.OK, "", [0.5, 0.5], True, True, None if k < 4 else 700.0)
        for k, row in enumerate(rows)
    ]
    found = slices(rows, said, [True] * 8)
    assert [part["value"] for part in found["sky"]] == ["blue", "(empty)"]
    assert [part["value"] for part in found["length"]] == ["600 s and longer", "unknown"]
