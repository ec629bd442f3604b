from collections import Counter

import numpy as np

from data_prep.media.probe import probe
from data_prep.settings import LimitSettings
from pipeline.cli.demo import (
    LABELS,
    DemoClip,
    picture_cap,
    plan_labelled,
    plan_new,
    sound_cap,
    write_clip,
)


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
