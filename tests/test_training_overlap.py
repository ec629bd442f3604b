"""The clips a run was trained on: at hand, gone, changed, or of a crossval.

The audit as a part of evaluations: which clips are compared, and when it is done again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_prep.manifest import ManifestRow
from pipeline.checkpoints.model_card import read_description
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.evaluation import training_overlap
from pipeline.evaluation.training_overlap import (
    OTHER_DATA,
    TEST_SPLIT,
    TrainingClips,
    audit_overlap,
    training_clips,
)
from pipeline.leak_audit.audit_result import Audit
from pipeline.leak_audit.findings import Finding, Kind
from pipeline.reporter import SilentReporter
from pipeline.training.training_data import open_prepared
from tests.conftest import framewave

pytestmark = pytest.mark.end_to_end


def _run(journey, folder: Path, **changes: object) -> Path:
    record = json.loads((journey.run / "run.json").read_text()) | changes
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_they_are_found_by_the_runs_record(journey, tmp_path: Path) -> None:
    found = training_clips(_run(journey, tmp_path / "run"))
    assert found.prepared is not None
    assert found.trained_on is found.prepared
    assert (found.missing, found.crossval) == ("", False)


def test_why_they_are_missing_is_said(journey, tmp_path: Path) -> None:
    assert "holds no run.json" in training_clips(tmp_path).missing
    gone = training_clips(_run(journey, tmp_path / "gone", work=str(tmp_path / "nowhere")))
    assert "are not available" in gone.missing
    other = training_clips(_run(journey, tmp_path / "other", data_digest="another"))
    assert "holds other clips, labels or splits" in other.missing
    assert {gone.trained_on, other.trained_on, other.prepared} == {None}
    shutil.copy(journey.run / "model.json", tmp_path / "run.json")
    with pytest.raises(UserError):
        training_clips(tmp_path)


def test_a_crossvals_model_was_trained_on_all(journey, tmp_path: Path) -> None:
    whole = open_prepared(journey.work).whole
    run = _run(journey, tmp_path / "cv", crossval={}, data_digest=whole.digest)
    found = training_clips(run)
    assert found.crossval
    assert found.prepared is not None
    assert found.trained_on is not None
    assert {row.split for row in found.prepared.rows} > {"train"}
    assert {row.split for row in found.trained_on.rows} == {"train"}


def test_clips_of_the_run_that_it_was_begun_from_are_known(journey, tmp_path: Path) -> None:
    model = read_description(journey.run).digest
    begun = _run(journey, tmp_path / "b", begun_from=model, begun_in=str(journey.run))
    found = training_clips(begun)
    assert found.prepared is not None
    trained = {row.key for row in found.prepared.rows if row.split in ("train", "val")}
    assert {row.key for row in found.warm_start} == trained
    assert found.warm_start_missing == ""
    assert training_clips(_run(journey, tmp_path / "fresh")).warm_start == ()


def test_clips_of_all_runs_before_are_known(journey, tmp_path: Path) -> None:
    model = read_description(journey.run).digest
    middle = tmp_path / "middle"
    shutil.copytree(journey.run, middle)
    record = json.loads((middle / "run.json").read_text())

    def before(**changes: object) -> TrainingClips:
        (middle / "run.json").write_text(json.dumps(record | changes))
        shutil.rmtree(tmp_path / "last", ignore_errors=True)
        return training_clips(
            _run(journey, tmp_path / "last", begun_from=model, begun_in=str(middle))
        )

    alone = before()
    chain = before(begun_from=model, begun_in=str(journey.run))
    assert chain.warm_start == (*alone.warm_start, *alone.warm_start)
    assert chain.warm_start_missing == ""
    broken = before(begun_from=model, begun_in=str(tmp_path / "gone"))
    assert broken.warm_start == alone.warm_start
    assert "gone" in broken.warm_start_missing


def test_what_was_seen_before_is_known_by_its_bytes_too(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.mp4" for name in ("trained", "copy", "other")]
    for path, content in zip(paths, (b"one", b"one", b"two"), strict=True):
        path.write_bytes(content)
    trained, copy, other = (
        ManifestRow(path=str(path), id=path.name, label="a", size_bytes=3) for path in paths
    )
    part = replace(trained, start_s=0.0, end_s=2.0)
    later = replace(copy, start_s=2.0, end_s=4.0)
    found = TrainingClips(None, warm_start=(trained,))
    assert found.in_warm_start([trained, copy, other]) == [trained, copy]
    assert TrainingClips(None, warm_start=(part,)).in_warm_start([later, copy]) == [copy]
    assert TrainingClips(None).in_warm_start([trained]) == []


def test_why_clips_before_are_not_known_is_said(journey, tmp_path: Path) -> None:
    model = read_description(journey.run).digest
    runs = {
        "without its folder": {"begun_from": model},
        "holds another model now": {"begun_from": "another", "begun_in": str(journey.run)},
        "gone": {"begun_from": model, "begun_in": str(tmp_path / "gone")},
    }
    for number, (says, changes) in enumerate(runs.items()):
        found = training_clips(_run(journey, tmp_path / f"{number}", **changes))
        assert found.warm_start == ()
        assert says in found.warm_start_missing
        assert found.prepared is not None


def _rows(n: int) -> list[ManifestRow]:
    return [
        ManifestRow(path=f"{k}", id=f"{k}", label="a", group="g", split="train") for k in range(n)
    ]


@pytest.mark.end_to_end
def test_all_clips_are_compared_and_only_once(journey, tmp_path, monkeypatch) -> None:
    prepared = open_prepared(journey.work)
    judged = [row for row in prepared.rows if row.split == "test"]
    training = TrainingClips(prepared)
    first = audit_overlap(judged, training, TEST_SPLIT, tmp_path, Config(), SilentReporter())
    assert first["summary"]["n_compared"] == len(prepared.rows)
    monkeypatch.setattr(training_overlap, "audit_rows", None)  # would fail if it were called
    assert (
        audit_overlap(
            judged, TrainingClips(prepared), TEST_SPLIT, tmp_path, Config(), SilentReporter()
        )
        == first
    )
    assert not (journey.work / "audit").exists()  # the work folder is the user's
    kept = tmp_path / "audit.json"
    for damage in ({"findings": [1]}, {"findings": [{}]}, {"summary": {"leaks": 1}}):
        whole = json.loads(kept.read_text())
        summary = whole["summary"] | damage.get("summary", {})
        kept.write_text(json.dumps(whole | damage | {"summary": summary}))
        with pytest.raises(TypeError):  # audit_rows is called again
            audit_overlap(judged, training, TEST_SPLIT, tmp_path, Config(), SilentReporter())
        kept.write_text(json.dumps(whole))
    begun = TrainingClips(prepared, warm_start=(judged[0], replace(judged[1], path="elsewhere")))
    found = audit_overlap(judged, begun, TEST_SPLIT, tmp_path, Config(), SilentReporter())
    assert first["summary"]["trained_on"] == 0
    assert found["summary"]["trained_on"] == 1
    gone = replace(begun, warm_start_missing="gone")
    found = audit_overlap(judged, gone, TEST_SPLIT, tmp_path, Config(), SilentReporter())
    assert not found["summary"]["with_training"]


@pytest.mark.end_to_end
def test_another_set_is_compared_with_what_was_trained_on(journey, tmp_path) -> None:
    """A training clip among the clips of another set is a leak."""
    prepared = open_prepared(journey.work)
    trained = next(row for row in prepared.rows if row.split == "train")
    copy = replace(trained, path=str(tmp_path / "copy.mp4"), id="other", split="")
    shutil.copyfile(trained.path, copy.path)
    found = audit_overlap(
        [copy, trained], TrainingClips(prepared), OTHER_DATA, tmp_path, Config(), SilentReporter()
    )
    assert found["summary"]["leaks"]["n"] >= 1
    assert any(row["second_split"] == "other data" for row in found["findings"])
    assert found["summary"]["trained_on"] == 1
    assert found["summary"]["judged"]["n_leaking"] == 1
    assert {row["first_split"] for row in found["findings"]} <= {"train", "val", "other data"}
    alone = audit_overlap(
        [copy], TrainingClips(None), OTHER_DATA, tmp_path, Config(), SilentReporter()
    )
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
    found = training_overlap._leaking_clips(findings, rows)
    assert (found["n"], found["n_leaking"]) == (4, 2)
    assert found["example"] == {"kind": "same_sound", "first": "0", "second": "t"}
    assert training_overlap._leaking_clips(findings[3:], rows) == {
        "n": 4,
        "n_leaking": 0,
        "example": None,
    }


def test_both_clips_of_a_pair_across_folds_are_judged() -> None:
    rows = [replace(row, split="", fold=f"{k}") for k, row in enumerate(_rows(3))]
    found = training_overlap._leaking_clips([_finding("folds", "0", "2", ("", ""))], rows)
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

    monkeypatch.setattr(training_overlap, "audit_rows", audit)
    monkeypatch.setattr(training_overlap, "_as_prepared", lambda prepared: None)
    data = SimpleNamespace(rows=trained)
    summary = audit_overlap(
        judged, TrainingClips(data), OTHER_DATA, tmp_path, Config(), SilentReporter()
    )["summary"]
    assert (summary["conflicts"]["n"], summary["leaks"]["n"]) == (1, 0)
    assert summary["judged"] == {"n": 2, "n_leaking": 0, "example": None}
