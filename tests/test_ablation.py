"""What a modality adds is counted on the clips that have both, and of runs beside this one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.settings import TaskSettings
from pipeline.evaluation.ablation import clip_key, masked_scores, single_modality_runs
from pipeline.storage.run_record import RunRecord, write_run_record
from pipeline.tasks import get_task
from tests.helpers.metrics_samples import LABELS, clips, kept_evaluation
from tests.helpers.tables import predicted

TASK = get_task(TaskSettings())


def _said(judged, right_of) -> dict[str, str]:
    """{key: label}, right for the numbers that right_of says."""
    wrong = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))
    return {
        clip_key(clip): clip.row.label if right_of(k) else wrong[clip.row.label]
        for k, clip in enumerate(judged)
    }


def test_what_each_adds_is_the_difference_on_clips_with_both() -> None:
    judged = clips(120, 30, share_right=1.0)
    both = [clip for k, clip in enumerate(judged) if k % 2 == 0]
    alone = {
        "picture": _said(both, lambda k: k % 2 == 0),
        "sound": _said(both, lambda k: k % 4 == 0),
    }
    found = masked_scores(alone, judged, TASK, LABELS)
    assert found is not None
    assert (found["n"], found["both"]["accuracy"]) == (60, 1.0)
    assert found["picture"]["accuracy"] == 0.5
    assert found["sound"]["accuracy"] == 0.25
    assert found["sound_adds"]["mean"] == pytest.approx(0.5)
    assert found["picture_adds"]["mean"] == pytest.approx(0.75)
    assert found["sound_adds"]["low"] < 0.5 < found["sound_adds"]["high"]


def test_where_nothing_was_masked_there_is_nothing_to_say() -> None:
    judged = clips(12)
    assert masked_scores({}, judged, TASK, LABELS) is None
    assert masked_scores({"picture": {}, "sound": {}}, judged, TASK, LABELS) is None


def _run(
    folder: Path, modalities: str, judged, digest: str = "d", on: str = "test split", **changes
) -> Path:
    card = {"model": {"modalities": modalities}}
    record = RunRecord(work="w", data_digest=digest, card=card, train={}, environment={})
    write_run_record(folder, record)
    return kept_evaluation(folder, judged, evaluated_on=on, **changes)


def test_runs_of_other_modalities_on_the_same_data_stand_beside(tmp_path: Path) -> None:
    judged = clips(90, 30, share_right=0.9, seed=1)
    weaker = clips(90, 30, share_right=0.5, seed=2)
    run = _run(tmp_path / "both", "both", judged)
    _run(tmp_path / "eyes", "picture", weaker)
    _run(tmp_path / "same kind", "both", weaker)
    _run(tmp_path / "other data", "sound", weaker, digest="e")
    _run(tmp_path / "fewer clips", "sound", weaker[:40])
    _run(tmp_path / "another set", "sound", weaker, on="other data")
    _run(tmp_path / "an older framewave's", "sound", weaker, version=1)
    (tmp_path / "no run").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    found = single_modality_runs(run, judged, TASK, LABELS)
    assert [each["run"] for each in found] == ["eyes"]
    assert found[0]["modalities"] == "picture"
    right = [predicted(clip.prediction, LABELS) == clip.row.label for clip in weaker]
    assert found[0]["accuracy"] == pytest.approx(sum(right) / 90)
    assert found[0]["difference"]["mean"] > 0.2


def test_labelled_parts_of_one_file_are_told_apart(tmp_path: Path) -> None:
    one = clips(1)[0]
    parts = [
        replace(one, row=replace(one.row, start_s=start_s, end_s=start_s + 2))
        for start_s in (0.0, 2.5)
    ]
    run = _run(tmp_path / "both", "both", parts)
    _run(tmp_path / "ears", "sound", parts)
    assert [each["accuracy"] for each in single_modality_runs(run, parts, TASK, LABELS)] in (
        [1.0],
        [0.0],
    )
