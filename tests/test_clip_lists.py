"""Which clips are shown first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_prep.status import Status
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.report.clip_lists import clip_rows, failed_rows, least_confident, worst_errors
from pipeline.storage.predictions import Prediction
from tests.helpers.metrics_samples import clips, evaluation_of


def test_the_worst_errors_and_the_least_sure_come_first(tmp_path: Path) -> None:
    whole = evaluation_of(tmp_path, clips(100))
    errors, unsure = worst_errors(whole), least_confident(whole)
    assert all(not entry.right for entry in errors)
    assert all(entry.right for entry in unsure)
    assert len(errors) + len(unsure) == 100
    assert [e.true_probability for e in errors] == sorted(e.true_probability for e in errors)
    assert [e.probability for e in unsure] == sorted(e.probability for e in unsure)
    assert len(clip_rows(whole)) == 100


def test_addresses_are_of_files_and_parts_are_named(tmp_path: Path) -> None:
    judged = clips(1)
    odd = replace(judged[0].row, path="/videos/a b#%?.mp4", start_s=2.5, end_s=4.0)
    whole = evaluation_of(tmp_path, [replace(judged[0], row=odd)])
    entry = clip_rows(whole)[0]
    assert entry.address == "file:///videos/a%20b%23%25%3F.mp4"
    assert entry.name == "a b#%?.mp4 (2.5–4 s)"
    assert entry.part_address == f"{entry.address}#t=2.500,4.000"
    assert entry.player == ("video" if judged[0].prediction.has_video else "audio")
    other = replace(judged[0], row=replace(odd, path="/a.avi", start_s=None, end_s=None))
    unplayed = clip_rows(evaluation_of(tmp_path, [other]))[0]
    assert (unplayed.player, unplayed.part_address) == ("", "file:///a.avi")


def test_a_clip_that_is_its_own_group_has_none(tmp_path: Path) -> None:
    one, other = clips(2)
    own = replace(one, row=replace(one.row, group=one.row.path))
    groups = {e.name: e.group for e in clip_rows(evaluation_of(tmp_path, [own, other]))}
    assert groups == {Path(one.row.path).name: "", Path(other.row.path).name: other.row.group}


def test_failed_files_have_their_reason(tmp_path: Path) -> None:
    whole = evaluation_of(tmp_path, clips(10))
    row = replace(whole.clips[0].row, path="/videos/z.mp4")
    failed = EvaluatedClip(row, Prediction(row.path, Status.TIMEOUT, "too long"), None)
    found = failed_rows(replace(whole, clips=[failed, *whole.clips]))
    assert [(f.name, f.status, f.error) for f in found] == [("z.mp4", "timeout", "too long")]
