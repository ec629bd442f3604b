"""The audit as a part of evaluations: which clips are compared, and when it is done again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from data_prep.dataset.manifest import ManifestRow
from pipeline.auditing.findings import Finding, Kind
from pipeline.auditing.outcome import Audit
from pipeline.config import Config
from pipeline.evaluating import leaks
from pipeline.evaluating.leaks import OTHER_DATA, TEST_SPLIT, audited
from pipeline.evaluating.training_clips import TrainingClips
from pipeline.reporting import Silent
from pipeline.training.training_data import open_prepared
from tests.conftest import framewave


def _rows(n: int) -> list[ManifestRow]:
    return [
        ManifestRow(path=f"{k}", id=f"{k}", label="a", group="g", split="train") for k in range(n)
    ]


@pytest.mark.end_to_end
def test_all_clips_are_compared_and_only_once(journey, tmp_path, monkeypatch) -> None:
    prepared = open_prepared(journey.work)
    judged = [row for row in prepared.rows if row.split == "test"]
    training = TrainingClips(prepared)
    first = audited(judged, training, TEST_SPLIT, tmp_path, Config(), Silent())
    assert first["summary"]["n_compared"] == len(prepared.rows)
    monkeypatch.setattr(leaks, "audit_rows", None)  # would fail if it were called
    assert (
        audited(judged, TrainingClips(prepared), TEST_SPLIT, tmp_path, Config(), Silent()) == first
    )
    assert not (journey.work / "audit").exists()  # the work folder is the user's
    kept = tmp_path / "audit.json"
    for damage in ({"findings": [1]}, {"findings": [{}]}, {"summary": {"leaks": 1}}):
        whole = json.loads(kept.read_text())
        summary = whole["summary"] | damage.get("summary", {})
        kept.write_text(json.dumps(whole | damage | {"summary": summary}))
        with pytest.raises(TypeError):  # audit_rows is called again
            audited(judged, training, TEST_SPLIT, tmp_path, Config(), Silent())
        kept.write_text(json.dumps(whole))
    begun = TrainingClips(prepared, before=(judged[0], replace(judged[1], path="elsewhere")))
    found = audited(judged, begun, TEST_SPLIT, tmp_path, Config(), Silent())
    assert first["summary"]["trained_on"] == 0
    assert found["summary"]["trained_on"] == 1
    gone = replace(begun, before_missing="gone")
    found = audited(judged, gone, TEST_SPLIT, tmp_path, Config(), Silent())
    assert not found["summary"]["with_training"]


@pytest.mark.end_to_end
def test_another_set_is_compared_with_what_was_trained_on(journey, tmp_path) -> None:
    """A training clip among the clips of another set is a leak."""
    prepared = open_prepared(journey.work)
    trained = next(row for row in prepared.rows if row.split == "train")
    copy = replace(trained, path=str(tmp_path / "copy.mp4"), id="other", split="")
    shutil.copyfile(trained.path, copy.path)
    found = audited(
        [copy, trained], TrainingClips(prepared), OTHER_DATA, tmp_path, Config(), Silent()
    )
    assert found["summary"]["leaks"]["n"] >= 1
    assert any(row["second_split"] == "other data" for row in found["findings"])
    assert found["summary"]["trained_on"] == 1
    assert found["summary"]["judged"]["n_leaking"] == 1
    assert {row["first_split"] for row in found["findings"]} <= {"train", "val", "other data"}
    alone = audited([copy], TrainingClips(None), OTHER_DATA, tmp_path, Config(), Silent())
    assert alone["summary"]["n_compared"] == 1
    assert not alone["summary"]["with_training"]


@pytest.mark.end_to_end
def test_eval_can_leave_it_out(journey, tmp_path) -> None:
    framewave("eval", "--run", journey.run, "--out", tmp_path, "--no-audit")
    assert json.loads((tmp_path / "metrics.json").read_text())["audit"] is None
    assert 'id="leaks"' not in (tmp_path / "report.html").read_text()
    whole = json.loads((journey.run / "eval" / "metrics.json").read_text())
    assert whole["audit"]["n_clips"] == 36


def _finding(crosses: str, first: str, second: str, splits: tuple[str, str]) -> dict[str, str]:
    ends = {"first": first, "second": second, "first_split": splits[0], "second_split": splits[1]}
    parts = {f"{end}_{name}": "" for end in ("first", "second") for name in ("start_s", "end_s")}
    return {"kind": "same_sound", "crosses": crosses, **ends, **parts}


def test_judged_clips_near_to_training_are_counted_once_each() -> None:
    rows = [replace(row, split="test") for row in _rows(4)]
    findings = [
        _finding("splits groups", "0", "t", ("test", "train")),
        _finding("splits", "u", "0", ("train", "test")),
        _finding("labels splits", "1", "u", ("test", "val")),
        _finding("labels groups", "2", "3", ("test", "test")),
        _finding("splits", "t", "v", ("train", "val")),
    ]
    found = leaks._touched(findings, rows)
    assert (found["n"], found["n_leaking"]) == (4, 2)
    assert found["example"] == {"kind": "same_sound", "first": "0", "second": "t"}
    assert leaks._touched(findings[3:], rows) == {"n": 4, "n_leaking": 0, "example": None}


def test_both_clips_of_a_pair_across_folds_are_judged() -> None:
    rows = [replace(row, split="", fold=f"{k}") for k, row in enumerate(_rows(3))]
    found = leaks._touched([_finding("folds", "0", "2", ("", ""))], rows)
    assert found["n_leaking"] == 2


def test_of_another_set_its_own_conflicts_are_told_and_those_of_training_are_not(
    tmp_path, monkeypatch
) -> None:
    trained = [replace(row, path=f"/t/{row.path}", id=f"t{row.id}", fold="1") for row in _rows(2)]
    judged = [
        replace(row, label=label, split="", fold=f"{k}", path=f"/j/{k}", id=f"j{k}")
        for k, (row, label) in enumerate(zip(_rows(2), "ab", strict=True))
    ]

    def audit(rows, *_):
        (t0, t1), (j0, j1) = rows[:-2], rows[-2:]
        pairs = [(replace(t0, label="b"), t1), (j0, j1)]
        findings = [Finding(Kind.SAME_BYTES, *pair) for pair in pairs]
        return Audit(list(rows), findings, {row.id: row.id for row in rows}, None, len(rows))

    monkeypatch.setattr(leaks, "audit_rows", audit)
    monkeypatch.setattr(leaks, "_held", lambda prepared: None)
    data = SimpleNamespace(rows=trained)
    summary = audited(judged, TrainingClips(data), OTHER_DATA, tmp_path, Config(), Silent())[
        "summary"
    ]
    assert (summary["conflicts"]["n"], summary["leaks"]["n"]) == (1, 0)
    assert summary["judged"] == {"n": 2, "n_leaking": 0, "example": None}
