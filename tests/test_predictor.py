import pytest
import torch

from models.classifier import ClipBatch, Dimensions
from pipeline.checkpoints.checkpoint import load_model
from pipeline.features.samples import LengthBuckets, Sample, collate
from pipeline.inference.predictor import predict


def samples(sizes: Dimensions, lengths: list[int]) -> list[Sample]:
    torch.manual_seed(1)
    return [
        Sample(
            torch.rand(n, sizes.frame_features).half(),  # as features of CNNs lie
            torch.rand(n * sizes.audio_frames_per_step, sizes.audio_bands),
            torch.rand(n) > 0.2,
            torch.rand(n) > 0.2,
        )
        for n in lengths
    ]


@pytest.mark.end_to_end
def test_a_trained_models_logits_do_not_depend_on_the_batch(journey) -> None:
    model = load_model(journey.run)
    clips = samples(model.classifier.first.dimensions, [1, 60, 2, 33, 7, 59, 16])
    with torch.inference_mode():
        together = model.classifier(collate(clips))
        for row, clip in enumerate(clips):
            alone = model.classifier(collate([clip]))[0]
            # logarithms of small probabilities have seven digits too
            assert (together[row] - alone).abs().max() <= 1e-6 * alone.abs().max().clamp(min=10)
            chances = torch.from_numpy(predict(model, clip).probabilities)
            assert torch.allclose(chances, alone.double().softmax(0), atol=1e-6)


def test_collate_pads_and_says_what_is_real() -> None:
    sizes = Dimensions(3, audio_bands=4, audio_frames_per_step=2, audio_rate_hz=16_000, n_classes=2)
    batch = collate(samples(sizes, [2, 5]))
    assert isinstance(batch, ClipBatch)
    assert batch.video.shape == (2, 5, 3)
    assert batch.audio.shape == (2, 10, 4)
    assert batch.lengths.tolist() == [2, 5]
    assert not batch.video[0, 2:].any()
    assert not batch.video_mask[0, 2:].any()


def test_buckets_cover_every_clip_once_and_follow_the_epoch_alone() -> None:
    buckets = LengthBuckets([3, 9, 1, 4, 4, 7, 2, 8], 3, seed=5)
    for epoch in range(4):
        batches = buckets.epoch(epoch)
        assert sorted(i for batch in batches for i in batch) == list(range(8))
        assert batches == LengthBuckets([3, 9, 1, 4, 4, 7, 2, 8], 3, seed=5).epoch(epoch)
    assert buckets.epoch(0) != buckets.epoch(1)
