"""An evaluation's table read back: every clip once, whatever its path and labels are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.status import Status
from pipeline.evaluating.clips import write_table
from pipeline.evaluating.table import read_said
from pipeline.records.predictions import Prediction
from tests.metrics_samples import LABELS, clips


def test_each_clip_and_part_is_read_back(tmp_path: Path) -> None:
    one, other, gone = clips(3)
    odd = replace(one.row, path='/v/=1+1, "a"\n.mp4', label="=cat", group="+g")
    parts = [replace(other, row=replace(other.row, start_s=s, end_s=s + 1.25)) for s in (0.0, 1.25)]
    failed = replace(gone, prediction=Prediction(gone.row.path, Status.CRASHED, "died"))
    labels = ("=cat", *LABELS)
    chances = np.array([0.7, 0.1, 0.1, 0.1])
    whole = [
        replace(
            clip, prediction=replace(clip.prediction, path=clip.row.path, probabilities=chances)
        )
        for clip in (replace(one, row=odd), *parts)
    ]
    write_table(tmp_path / "t.csv", [*whole, failed], labels, "m")
    said = read_said(tmp_path / "t.csv")
    assert len(said) == 4
    assert said[odd.path, "", ""].label == said[odd.path, "", ""].predicted == "=cat"
    assert said[odd.path, "", ""].right
    assert said[odd.path, "", ""].group == "+g"
    assert {key[1:] for key in said if key[0] == other.row.path} == {
        ("0.0", "1.25"),
        ("1.25", "2.5"),
    }
    assert said[gone.row.path, "", ""].predicted == ""
    assert not said[gone.row.path, "", ""].right


def test_a_table_of_something_else_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,predicted\n/a,cat\n")
    with pytest.raises(KeyError):
        read_said(tmp_path / "t.csv")
