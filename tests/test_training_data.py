import numpy as np
import torch

from data_prep.manifest import ManifestRow
from data_prep.settings import TaskSettings
from data_prep.video.resize import encode_jpeg
from pipeline.config import load_config
from pipeline.features.samples import LabelledSample, Sample
from pipeline.tasks import get_task
from pipeline.training.fit import clip_targets
from pipeline.training.training_data import batch_loader

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
