import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep.media.probe import probe
from data_prep.settings import LimitSettings
from pipeline.cli import demo, demo_timeline
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


def test_the_timeline_demo_runs_every_task_on_the_same_videos(
    tmp_path, monkeypatch, capsys
) -> None:
    commands: list[list[str]] = []

    def stand_in(*arguments: str) -> None:
        commands.append(list(arguments))
        if "--out" in arguments and arguments[0] == "eval":
            folder = Path(arguments[arguments.index("--out") + 1])
            folder.mkdir(parents=True)
            scores = {"accuracy": 0.5, "edit": 0.5, "segment_f1": {"0.5": {"f1": 0.5}},
                      "by_horizon": [{"accuracy": 0.5}]}  # fmt: skip
            values = scores | {"baselines": {"a": scores, "best_baseline": scores}}
            (folder / "metrics.json").write_text(json.dumps(values))

    monkeypatch.setattr(demo_timeline, "run_framewave", stand_in)
    for name, value in (
        ("_LABELLED_S", (8,)),
        ("_NEW_S", (8,)),
        ("_LONG_S", (9,)),
        ("_N_SHORT", 2),
    ):
        monkeypatch.setattr(demo_timeline, name, value)
    demo_timeline.run_timeline_demo(tmp_path, 0, ["device=cpu"])
    assert [c[0] for c in commands] == [
        "prep", "train", "eval", "classify", "prep", *["train"] * 4, *["eval"] * 6,
    ]  # fmt: skip
    runs = {Path(c[c.index("--run") + 1]).name for c in commands if c[0] == "train"}
    assert {Path(c[c.index("--run") + 1]).name for c in commands if c[0] == "eval"} == runs
    for command in commands:
        assert command[-1] == "device=cpu" or command[0] in ("prep", "train")
        for word in command[command.index("--data") + 1 :][:1] if "--data" in command else []:
            assert Path(word).exists()
    printed = capsys.readouterr().out
    assert printed.count("50.0%") == 12
    assert "timeline, causal" in printed
    # the videos are there: they are not written again
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.mp4")}
    assert len(before) == 5
    for folder in tmp_path.glob("eval/*"):
        shutil.rmtree(folder)
    demo_timeline.run_timeline_demo(tmp_path, 0, [])
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.mp4")}


def test_short_videos_have_few_events(tmp_path) -> None:
    rng = np.random.default_rng(0)
    planned = demo_timeline.plan_short(tmp_path, demo_timeline.transitions(rng), rng)
    for schedule in planned:
        names = [s.label for s in schedule.segments if s.label != demo_timeline.BACKGROUND]
        assert 1 <= len(names) <= 6
    assert len({schedule.path for schedule in planned}) == 20
