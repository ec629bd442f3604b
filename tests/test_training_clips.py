"""The clips a run was trained on: at hand, gone, changed, or of a crossval."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.dataset.manifest import ManifestRow
from pipeline.checkpoints.card import read_description
from pipeline.errors import UserError
from pipeline.evaluating.training_clips import TrainingClips, training_clips
from pipeline.training.training_data import open_prepared

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
    assert "are not at hand" in gone.missing
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
    assert {row.key for row in found.before} == trained
    assert found.before_missing == ""
    assert training_clips(_run(journey, tmp_path / "fresh")).before == ()


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
    assert chain.before == (*alone.before, *alone.before)
    assert chain.before_missing == ""
    broken = before(begun_from=model, begun_in=str(tmp_path / "gone"))
    assert broken.before == alone.before
    assert "gone" in broken.before_missing


def test_what_was_seen_before_is_known_by_its_bytes_too(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.mp4" for name in ("trained", "copy", "other")]
    for path, content in zip(paths, (b"one", b"one", b"two"), strict=True):
        path.write_bytes(content)
    trained, copy, other = (
        ManifestRow(path=str(path), id=path.name, label="a", size_bytes=3) for path in paths
    )
    part = replace(trained, start_s=0.0, end_s=2.0)
    later = replace(copy, start_s=2.0, end_s=4.0)
    found = TrainingClips(None, before=(trained,))
    assert found.seen_before([trained, copy, other]) == [trained, copy]
    assert TrainingClips(None, before=(part,)).seen_before([later, copy]) == [copy]
    assert TrainingClips(None).seen_before([trained]) == []


def test_why_clips_before_are_not_known_is_said(journey, tmp_path: Path) -> None:
    model = read_description(journey.run).digest
    runs = {
        "without its folder": {"begun_from": model},
        "holds another model now": {"begun_from": "another", "begun_in": str(journey.run)},
        "gone": {"begun_from": model, "begun_in": str(tmp_path / "gone")},
    }
    for number, (says, changes) in enumerate(runs.items()):
        found = training_clips(_run(journey, tmp_path / f"{number}", **changes))
        assert found.before == ()
        assert says in found.before_missing
        assert found.prepared is not None
