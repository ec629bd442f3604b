from collections import Counter

import numpy as np
import pytest

from data_prep.media.probe import probe
from data_prep.settings import LimitSettings
from pipeline.cli import demo
from pipeline.cli.demo import (
    LABELS,
    DemoClip,
    picture_cap,
    plan_labelled,
    plan_new,
    sound_cap,
    write_clip,
)
from pipeline.errors import UserError


def test_caps_follow_from_the_plan(tmp_path) -> None:
    clips = plan_new(tmp_path, 200, seed=1)
    assert len(clips) >= 200
    assert picture_cap(clips) == 1 / 3
    assert sound_cap(clips) == 1 / 2
    assert max(Counter(clip.label for clip in clips).values()) == len(clips) / len(LABELS)


def test_no_scene_is_in_both_sets(tmp_path) -> None:
    labelled, new = plan_labelled(tmp_path, 200, 0), plan_new(tmp_path, 200, 0)
    assert not {c.scene for c in labelled} & {c.scene for c in new}
    assert len({c.path for c in [*labelled, *new]}) == len(labelled) + len(new)


def test_names_of_new_clips_tell_nothing(tmp_path) -> None:
    clips = sorted(plan_new(tmp_path, 60, 0), key=lambda c: c.path)
    labels = [LABELS.index(c.label) for c in clips]
    assert abs(np.corrcoef(range(len(labels)), labels)[0, 1]) < 0.4
    assert labels != sorted(labels)


def test_same_scene_gives_the_same_picture_for_every_sound(tmp_path) -> None:
    from tests.helpers.media import pyav_frames

    paths = []
    for sound in ("bird", "rain"):
        paths.append(tmp_path / f"{sound}.mp4")
        write_clip(DemoClip(paths[-1], "day_then_night", sound, 5))
    assert pyav_frames(paths[0]) == pyav_frames(paths[1])
    assert probe(str(paths[0]), LimitSettings()).has_audio


def test_a_demo_that_was_interrupted_starts_again_and_other_folders_are_refused(
    tmp_path, monkeypatch
) -> None:
    def written(count: int) -> set[str]:
        demo._make_media(tmp_path / "demo", count, 0)
        return {path.name for path in (tmp_path / "demo").rglob("*.mp4")}

    def touch(clip: DemoClip) -> None:
        clip.path.parent.mkdir(parents=True, exist_ok=True)
        clip.path.touch()

    def stop_halfway(clips: list[DemoClip]) -> None:
        for clip in clips[: len(clips) // 2]:
            touch(clip)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_clip", touch)
    monkeypatch.setattr(demo, "write_odd_files", lambda *_: None)
    monkeypatch.setattr(demo, "write_clips", stop_halfway)
    with pytest.raises(KeyboardInterrupt):
        written(96)
    monkeypatch.setattr(demo, "write_clips", lambda clips: [touch(clip) for clip in clips])
    again = written(48)
    (tmp_path / "demo").rename(tmp_path / "first")
    assert again == written(48)  # no clip of the larger demo is left
    with pytest.raises(UserError, match="something other than this demo"):
        written(96)
