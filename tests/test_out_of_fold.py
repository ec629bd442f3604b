import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.manifest import ManifestRow
from data_prep.status import Status
from models.output import ALL_MODALITIES, ClassifierOutput
from pipeline.crossval.crossval import FoldOutputs, out_of_fold
from pipeline.crossval.fold_assignment import FoldAssignment
from pipeline.errors import UserError
from pipeline.evaluation.out_of_fold import (
    SUMMARY_NAME,
    OutOfFold,
    read_out_of_fold,
    write_out_of_fold,
)
from pipeline.features.samples import Sample
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.storage.predictions import Prediction
from pipeline.tasks import get_task
from pipeline.training.calibration import HeldOutOutputs
from pipeline.training.training_data import LabelledSample

TASK = get_task("clip_label")


LABELS = ("=cat", 'dog, "big"', "ü\n2")


def clips() -> list[EvaluatedClip]:
    good = [
        EvaluatedClip(
            ManifestRow(f"/\udce4 {k}.mp4", label=LABELS[k], group="-g", fold="1", start_s=k + 0.5),
            Prediction(
                f"/\udce4 {k}.mp4", Status.OK, "", np.roll([0.5, 0.25, 0.25], k), True, False, 2.0
            ),
            None,
        )
        for k in range(3)
    ]
    broken = ManifestRow("/x", label=LABELS[0], status=Status.CRASHED)
    return [*good, EvaluatedClip(broken, Prediction("/x", Status.CRASHED, "died"), None)]


def test_round_trip_of_strange_names(tmp_path) -> None:
    write_out_of_fold(tmp_path, OutOfFold(clips(), {"baselines": {}}), TASK, LABELS, "m")
    found = {c.row.path: c for c in read_out_of_fold(tmp_path, TASK, LABELS).clips}
    assert found.keys() == {c.row.path for c in clips()}
    for clip in clips():
        again = found[clip.row.path]
        for name in ("label", "group", "fold", "start_s", "status"):
            assert getattr(again.row, name) == getattr(clip.row, name)
        assert again.prediction.predicted(LABELS) == clip.prediction.predicted(LABELS)
        assert again.prediction.has_video == clip.prediction.has_video
        assert again.prediction.error == clip.prediction.error


def test_a_table_that_was_cut_is_damaged(tmp_path) -> None:
    summary = {"baselines": {"majority": {"n": 3}}}
    write_out_of_fold(tmp_path, OutOfFold(clips(), summary), TASK, LABELS, "m")
    assert len(read_out_of_fold(tmp_path, TASK, LABELS).clips) == 4
    write_out_of_fold(tmp_path, OutOfFold(clips()[1:], summary), TASK, LABELS, "m")
    with pytest.raises(UserError, match="2 clips are judged"):
        read_out_of_fold(tmp_path, TASK, LABELS)
    summary["baselines"]["majority"] = {}
    write_out_of_fold(tmp_path, OutOfFold(clips(), summary), TASK, LABELS, "m")
    with pytest.raises(UserError, match="is damaged"):
        read_out_of_fold(tmp_path, TASK, LABELS)


def test_no_crossval_and_damage_are_told_apart(tmp_path) -> None:
    assert read_out_of_fold(tmp_path, TASK, LABELS) is None
    (tmp_path / SUMMARY_NAME).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_out_of_fold(tmp_path, TASK, LABELS)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_a_folds_own_labels_change_nothing_in_its_predictions(seed: int) -> None:
    torch.manual_seed(seed)
    n, none = 30, torch.zeros(1)
    sample = Sample(none, none, none.bool(), none.bool())
    items = [LabelledSample(ManifestRow(str(k), id=str(k)), sample) for k in range(n)]
    division = FoldAssignment(items, {str(k): str(k % 3) for k in range(n)})
    there = torch.ones(n, dtype=torch.bool)
    said = {
        epoch: [
            {
                ALL_MODALITIES: ClassifierOutput(
                    torch.randn(n, 4), {"sound": torch.randn(n, 4)}, {"sound": there}
                )
            }
            for _ in range(2)
        ]
        for epoch in (4, 8, 15)
    }
    targets = torch.randint(0, 4, (n,))
    inside = torch.arange(n) % 3 == 1
    other = torch.where(inside, (targets + 1) % 4, targets)
    before, after = (
        out_of_fold(
            FoldOutputs({e: HeldOutOutputs(of_e, t) for e, of_e in said.items()}, there), division
        )
        for t in (targets, other)
    )
    assert np.array_equal(before[inside.numpy()], after[inside.numpy()])
    assert not np.array_equal(before, after)
    assert np.allclose(before.sum(axis=1), 1)
