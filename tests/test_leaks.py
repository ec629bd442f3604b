"""The audit as a part of evaluations: which clips are compared, and when it is done again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.outcome import Audit, digest_of, read_audit, write_audit
from pipeline.config import Config
from pipeline.evaluating import leaks
from pipeline.evaluating.leaks import audited
from pipeline.reporting import Silent
from pipeline.training.training_data import open_prepared
from tests.conftest import framewave


def _rows(n: int) -> list[ManifestRow]:
    return [
        ManifestRow(path=f"{k}", id=f"{k}", label="a", group="g", split="train") for k in range(n)
    ]


def test_an_earlier_audit_is_known_by_its_clips(tmp_path) -> None:
    rows = _rows(3)
    found = Audit(rows, [], {row.id: "g" for row in rows}, None, 3)
    for unfit in (replace(found, n_compared=2), replace(found, prepared=False)):
        write_audit(tmp_path, unfit)
        assert read_audit(tmp_path, rows) is None
    write_audit(tmp_path, found)
    assert read_audit(tmp_path, rows) == json.loads(json.dumps(found.as_read()))
    for name, value in (("label", "b"), ("group", "h"), ("split", "test"), ("fold", "2")):
        assert read_audit(tmp_path, [replace(rows[0], **{name: value}), *rows[1:]]) is None
    assert read_audit(tmp_path, rows[:2]) is None
    (tmp_path / "audit.json").write_text("{}")
    assert read_audit(tmp_path, rows) is None
    assert digest_of(rows) == digest_of(rows[::-1])


@pytest.mark.end_to_end
def test_all_clips_are_compared_and_only_once(journey, monkeypatch) -> None:
    prepared = open_prepared(journey.work)
    judged = [row for row in prepared.rows if row.split == "test"]
    first = audited(judged, prepared, False, Config(), Silent())
    assert first["summary"]["n_compared"] == len(prepared.rows)
    monkeypatch.setattr(leaks, "audit_rows", None)  # would fail if it were called
    assert audited(judged, prepared, False, Config(), Silent()) == first


@pytest.mark.end_to_end
def test_another_set_is_compared_with_what_was_trained_on(journey, tmp_path) -> None:
    """A training clip among the clips of another set is a leak."""
    prepared = open_prepared(journey.work)
    trained = next(row for row in prepared.rows if row.split == "train")
    copy = replace(trained, path=str(tmp_path / "copy.mp4"), id="other", split="")
    shutil.copyfile(trained.path, copy.path)
    found = audited([copy, trained], prepared, True, Config(), Silent())
    assert found["summary"]["leaks"]["n"] >= 1
    assert any(row["second_split"] == "other data" for row in found["findings"])
    assert found["summary"]["trained_on"] == 1
    assert {row["first_split"] for row in found["findings"]} <= {"train", "val", "other data"}
    alone = audited([copy], None, True, Config(), Silent())
    assert alone["summary"]["n_compared"] == 1
    assert not alone["summary"]["with_training"]


@pytest.mark.end_to_end
def test_eval_can_leave_it_out(journey, tmp_path) -> None:
    framewave("eval", "--run", journey.run, "--out", tmp_path, "--no-audit")
    assert json.loads((tmp_path / "metrics.json").read_text())["audit"] is None
    assert 'id="leaks"' not in (tmp_path / "report.html").read_text()
    whole = json.loads((journey.run / "eval" / "metrics.json").read_text())
    assert whole["audit"]["n_clips"] == 36
