"""An epoch on kept features against one that decodes: python benchmarks/training.py WORKFOLDERS

For every prepared work folder inside WORKFOLDERS with picture: seconds of one epoch (forward,
backward, step; the loader's work included), and of decoding and encoding its training clips anew.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch

from data_prep.settings import DecodeSettings, LimitSettings
from pipeline.checkpoints.checkpoint import build_classifier, build_front_end
from pipeline.config import Config
from pipeline.features.backend import resolve_backend
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encode_stream import encode_clips, whole_clips
from pipeline.features.encoder_weights import encoder_source
from pipeline.prep.prep import record_encoders
from pipeline.training.fit import clip_targets
from pipeline.training.lightning_module import ClipTraining, fit_feature_statistics
from pipeline.training.train import plan_training
from pipeline.training.training_data import (
    TrainingClips,
    batch_loader,
    class_weights,
    open_prepared,
)

EPOCHS = 7


def epoch_s(work: Path) -> tuple[float, int]:
    """Median seconds of an epoch, and how many clips it has."""
    config, data = Config(), open_prepared(work)
    _, card = plan_training(data, config)
    front_end = build_front_end(card)
    samples = data.samples(["train"], front_end)
    task = card.get_task()
    targets = clip_targets(task, samples, card.labels)
    weights = class_weights(torch.cat(targets).tolist(), len(card.labels))
    loss = task.build_loss(weights, config.train)
    module = ClipTraining(build_classifier(card, front_end), None, config.train, loss)
    fit_feature_statistics(module.classifier, [item.sample for item in samples])
    optimizer = module.optimizer()
    took = []
    for _ in range(EPOCHS):
        begun_s = time.perf_counter()
        for batch in batch_loader(TrainingClips(samples, targets), config):
            module.training_step(batch, 0).backward()
            optimizer.step()
            optimizer.zero_grad()
        took.append(time.perf_counter() - begun_s)
    return statistics.median(took), len(samples)


def decoding_s(work: Path) -> float:
    """Seconds of decoding and encoding the same clips, start-up left out."""
    config, data = Config(), open_prepared(work)
    record = data.record
    rows = [row for row in data.rows if row.trainable and row.split == "train"]
    side_px = record.clip.frame_size_px
    assert side_px is not None
    model = config.model.model_copy(update={"frame_encoder": record.encoder.name})
    backend, source = resolve_backend(config), encoder_source(model, side_px)
    # An epoch sees each frame once, as it is or mirrored.
    once = record.model_copy(update={"mirrored": False})
    encoders = record_encoders(source, backend, config, model, once)
    settings = DecodeSettings(record.clip, LimitSettings())
    with DecodePool(0) as pool:
        begun_s = time.perf_counter()
        clips = encode_clips([row.source for row in rows], settings, pool, lambda: encoders)
        assert len(list(whole_clips(clips))) == len(rows)
        return time.perf_counter() - begun_s


def main() -> None:
    found = {}
    for record in sorted(Path(sys.argv[1]).glob("*/prep.json")):
        epoch, clips = epoch_s(record.parent)
        decoding = decoding_s(record.parent)
        found[record.parent.name] = {
            "clips": clips, "epoch_s": round(epoch, 4), "decoding_epoch_s": round(decoding, 2),
            "ratio": round(decoding / epoch), "epoch_s_per_1000": round(1000 * epoch / clips, 3),
        }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
