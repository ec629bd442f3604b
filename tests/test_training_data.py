import numpy as np
import torch

from data_prep.manifest import ManifestRow
from data_prep.segments import UNKNOWN
from data_prep.settings import TaskSettings
from data_prep.video.resize import encode_jpeg
from pipeline.config import load_config
from pipeline.features.samples import LabelledSample, Sample
from pipeline.tasks import get_task
from pipeline.training.fit import clip_targets
from pipeline.training.training_data import batch_loader, cut_into_windows, draw_windows

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
    for samples, numbers in batch_loader(items, targets(items), CONFIG):
        assert len(samples) <= 2
        for sample, target in zip(samples, numbers.tolist(), strict=True):
            seen[int(sample.video[0, 0])] = target
    assert seen == {number: number % 2 for number in range(7)}


def test_workers_decode_jpegs_where_the_encoder_is_trained() -> None:
    items = [labelled(number, jpegs=True) for number in range(5)]
    batches = batch_loader(items, targets(items), CONFIG)
    assert batches.num_workers >= 1
    seen = {}
    for samples, _ in batches:
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
    windows, drawn = draw_windows(items, numbers, 10, seed=1)
    assert len(windows) == 4 + 48
    assert max(window.sample.n_steps for window in windows) == 10
    ends = set()
    for window, target in zip(windows, drawn, strict=True):
        last = int(window.sample.video[-1, 0])
        assert target[-rows:].tolist() == [rows * last + k for k in range(rows)]
        assert (target[:-rows] == UNKNOWN).all()
        ends.add((window.row.path, last))
    assert len(ends) > 30
    again, _ = draw_windows(items, numbers, 10, seed=1)
    assert all(torch.equal(a.sample.video, b.sample.video)
               for a, b in zip(windows, again, strict=True))  # fmt: skip


def test_few_windows_make_small_batches_and_not_few_batches() -> None:
    items = [long_item(30 + k) for k in range(20)]
    targets_ = [torch.zeros(item.sample.n_steps, dtype=torch.long) for item in items]
    config = load_config(None, ["train.batch_size=32"])
    assert len(batch_loader(items, targets_, config)) == 1
    assert len(batch_loader(items, targets_, config, least_batches=8)) == 5
