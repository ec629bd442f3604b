from dataclasses import replace
from itertools import groupby

import numpy as np
import torch

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN, LabelledSegment
from data_prep.settings import TaskSettings
from data_prep.video.resize import encode_jpeg
from pipeline.config import load_config
from pipeline.features.samples import LabelledSample, LengthBuckets, Sample
from pipeline.tasks import get_task
from pipeline.tasks.events import END
from pipeline.training.fit import clip_targets
from pipeline.training.training_data import (
    TrainingClips,
    batch_loader,
    cut_into_windows,
    draw_windows,
    training_clips,
)

CONFIG = load_config(None, ["train.batch_size=2"])


def labelled(number: int, jpegs: bool) -> LabelledSample:
    steps = 1 + number % 3
    shown = torch.ones(steps, dtype=torch.bool)
    files = tuple(encode_jpeg(np.full((3, 16, 16), 10 * number, np.uint8)) for _ in range(steps))
    sample = Sample(
        torch.full((steps, 4), float(number)), torch.zeros(steps, 1), shown, shown,
        files if jpegs else (),
    )  # fmt: skip
    return LabelledSample(ManifestRow(path=str(number), label="ab"[number % 2]), sample)


def targets(items):
    return clip_targets(get_task(TaskSettings()), items, ("a", "b"))


def test_batches_hold_every_clip_once_with_its_class() -> None:
    items = [labelled(number, jpegs=False) for number in range(7)]
    seen = {}
    for samples, numbers, _ in batch_loader(TrainingClips(items, targets(items)), CONFIG):
        assert len(samples) <= 2
        for sample, target in zip(samples, numbers.tolist(), strict=True):
            seen[int(sample.video[0, 0])] = target
    assert seen == {number: number % 2 for number in range(7)}


def test_workers_decode_jpegs_where_the_encoder_is_trained() -> None:
    items = [labelled(number, jpegs=True) for number in range(5)]
    batches = batch_loader(TrainingClips(items, targets(items)), CONFIG)
    assert batches.num_workers >= 1
    seen = {}
    for samples, _, _ in batches:
        for sample in samples:
            assert sample.frames is not None
            assert sample.frames.dtype == torch.uint8
            assert sample.frames.shape[0] == sample.n_steps
            seen[int(sample.video[0, 0])] = int(sample.frames.float().mean())
    assert all(abs(level - 10 * number) <= 1 for number, level in seen.items())
    assert len(seen) == 5


def long_item(n_steps: int) -> LabelledSample:
    shown = torch.ones(n_steps, dtype=torch.bool)
    video = torch.arange(n_steps).float()[:, None]
    sample = Sample(video, torch.zeros(n_steps, 1), shown, shown, ())
    return LabelledSample(ManifestRow(path=str(n_steps), label="a"), sample)


def test_windows_hold_every_step_once_with_its_targets() -> None:
    items, rows = [long_item(7), long_item(25)], 2
    numbers = [torch.arange(rows * item.sample.n_steps) for item in items]
    windows, cut = cut_into_windows(items, numbers, 10)
    assert [window.sample.n_steps for window in windows] == [7, 8, 9, 8]
    for window, target in zip(windows, cut, strict=True):
        steps = window.sample.video[:, 0].long()
        assert target.tolist() == [rows * t + k for t in steps.tolist() for k in range(rows)]


def test_drawn_windows_know_the_targets_of_their_last_step_only() -> None:
    items, rows = [long_item(4), long_item(60)], 3
    numbers = [torch.arange(rows * item.sample.n_steps) for item in items]
    found = draw_windows(items, numbers, 10, seed=1)
    windows, drawn = found.items, found.targets
    assert found.per_epoch == 4 + 48
    assert len(windows) == 8 * (4 + 48)  # an epoch uses one of eight
    assert max(window.sample.n_steps for window in windows) == 10
    ends = set()
    for window, target in zip(windows, drawn, strict=True):
        last = int(window.sample.video[-1, 0])
        assert target[-rows:].tolist() == [rows * last + k for k in range(rows)]
        assert (target[:-rows] == UNKNOWN).all()
        ends.add((window.row.path, last))
    assert len(ends) > 30
    again = draw_windows(items, numbers, 10, seed=1).items
    assert all(torch.equal(a.sample.video, b.sample.video)
               for a, b in zip(windows, again, strict=True))  # fmt: skip


def test_few_windows_make_small_batches_and_not_few_batches() -> None:
    items = [long_item(30 + k) for k in range(20)]
    targets_ = [torch.zeros(item.sample.n_steps, dtype=torch.long) for item in items]
    config = load_config(None, ["train.batch_size=32"])
    assert len(batch_loader(TrainingClips(items, targets_), config)) == 1
    assert len(batch_loader(TrainingClips(items, targets_), config, least_batches=8)) == 5


def test_each_epoch_draws_other_windows_and_parts() -> None:
    items = [long_item(4), long_item(60)]
    forecast = get_task(TaskSettings(name="forecast", form="sequence_to_vector"), 1.0)
    config = load_config(None, ["task=forecast"])
    clips = training_clips(items, forecast, ("a", "b"), config.train)
    assert clips.per_epoch == len(clips.items) // 8
    epoch = 0
    loader = batch_loader(clips, config, lambda: epoch, 8)
    seen = []
    for epoch in (0, 1, 0):  # noqa: B007 - the loader asks for it
        drawn = [s.video[:, 0].tolist() for samples, _, _ in loader for s in samples]
        assert len(drawn) == clips.per_epoch
        seen.append(drawn)
    assert seen[0] == seen[2] != seen[1]


def test_the_whole_clip_is_in_every_epoch_beside_drawn_parts() -> None:
    segments = tuple(LabelledSegment(5 * k, 5 * k + 4, "ab"[k % 2]) for k in range(12))
    item = replace(long_item(60), row=ManifestRow("x", label="a;b", segments=segments))
    task = get_task(TaskSettings(name="events"), 1.0)
    clips = training_clips([item], task, ("a", "b", END), load_config(None, []).train)
    assert clips.n_always == 1
    assert clips.items[0].sample.n_steps == 60
    assert 1 < clips.per_epoch <= 9 < len(clips.items)
    buckets = LengthBuckets([1] * len(clips.items), 4, 0, clips.per_epoch, clips.n_always)
    for epoch in range(5):
        drawn = [k for batch in buckets.epoch(epoch) for k in batch]
        assert 0 in drawn
        assert len(drawn) == len(set(drawn)) == clips.per_epoch
    for part, targets_, steps in zip(clips.items, clips.targets, clips.steps, strict=True):
        assert steps.shape[0] == part.sample.n_steps
        runs = [k for k, _ in groupby(steps.tolist()) if k != 2]
        assert runs == targets_[:-1].tolist()
