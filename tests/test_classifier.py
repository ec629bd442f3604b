import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.modality_branches import feature_difference
from models.settings import ModelSettings
from models.shapes import length_mask

PER_STEP = 10
HEADS = [
    {}, {"head": "lstm", "bidirectional": True, "head_units": 8}, {"readout": "attention"},
    {"head": "dilated", "readout": "deviation"}, {"head": "mean"}, {"head": "layer_norm_gru"},
    {"motion": True, "own_answers": False},
]  # fmt: skip
SIZES = Dimensions(
    frame_features=12, audio_bands=8, audio_frames_per_step=PER_STEP, audio_rate_hz=16_000,
    n_classes=3,
)  # fmt: skip
SMALL = {
    "audio_channels": 8, "audio_features": 6, "picture_features": 7, "head_units": 9,
    "dropout": 0.0, "modalities": "both",
}  # fmt: skip


def build(**changes) -> AudioVisualClassifier:
    torch.manual_seed(0)
    return AudioVisualClassifier(ModelSettings(**(SMALL | changes)), SIZES).eval()


def clips(lengths: list[int], seed: int = 0) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    size, steps = len(lengths), max(lengths)
    return ClipBatch(
        torch.randn(size, steps, 12, generator=generator),
        torch.randn(size, steps * PER_STEP, 8, generator=generator),
        torch.rand(size, steps, generator=generator) > 0.2,
        torch.rand(size, steps, generator=generator) > 0.2,
        torch.tensor(lengths),
    )


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.sampled_from(HEADS))
def test_logits_do_not_depend_on_the_batch(lengths: list[int], head: dict) -> None:
    net, batch = build(**head), clips(lengths)
    with torch.inference_mode():
        together = net(batch)
        for row, n in enumerate(lengths):
            alone = ClipBatch(
                batch.video[row : row + 1, :n], batch.audio[row : row + 1, : n * PER_STEP],
                batch.video_mask[row : row + 1, :n], batch.audio_mask[row : row + 1, :n],
                batch.lengths[row : row + 1],
            )  # fmt: skip
            assert torch.allclose(together[row], net(alone)[0], atol=1e-5)


def test_fusion_is_concatenation_on_the_last_dimension() -> None:
    fused = build().fuse(clips([4, 2]))
    assert fused.fused.shape == (2, 4, 7 + 6)
    there = fused.present["picture"][:, :, None] & fused.present["sound"][:, :, None]
    parts = torch.cat([fused.branches["picture"], fused.branches["sound"]], dim=-1)
    assert torch.equal(fused.fused * there, parts * there)


@pytest.mark.parametrize("missing", ["picture", "sound"])
def test_an_answer_about_nothing_does_not_count(missing: str) -> None:
    net, batch = build(), clips([5])
    mask = {"picture": "video_mask", "sound": "audio_mask"}[missing]
    masks = {mask: torch.zeros(1, 5, dtype=torch.bool)}
    answers = net.outputs(ClipBatch(**(dict(vars(batch)) | masks)))
    other = {"picture": "sound", "sound": "picture"}[missing]
    expected = (answers.fused.log_softmax(-1) + answers.unimodal[other].log_softmax(-1)) / 2
    assert torch.allclose(answers.combined(net.fusion_weights), expected)


def test_without_own_answers_the_joint_one_stands() -> None:
    net, batch = build(own_answers=False), clips([5, 3])
    assert torch.allclose(net(batch), net.outputs(batch).fused.log_softmax(-1))


def test_motion_is_the_change_since_the_step_before() -> None:
    features = torch.tensor([[[1.0], [3.0], [0.0], [5.0]]])
    present = torch.tensor([[True, True, False, True]])
    assert feature_difference(features, present)[0, :, 0].tolist() == [0, 2, 0, 0]
    assert build(motion=True).fuse(clips([4])).fused.shape == (1, 4, 7 * 2 + 6)


@pytest.mark.parametrize("mask", ["video_mask", "audio_mask"])
def test_the_mask_reaches_the_logits(mask: str) -> None:
    """The same numbers marked as absent give another answer: nothing there is not zero."""
    net, batch = build(), clips([5])
    zeros = mask.removesuffix("_mask")
    fields = dict(vars(batch)) | {zeros: torch.zeros_like(getattr(batch, zeros))}
    present = ClipBatch(**(fields | {mask: torch.ones(1, 5, dtype=torch.bool)}))
    absent = ClipBatch(**(fields | {mask: torch.zeros(1, 5, dtype=torch.bool)}))
    assert (net(present) - net(absent)).abs().max() > 1e-4


def test_absent_data_cannot_matter() -> None:
    net, batch = build(), clips([5])
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    some = ClipBatch(batch.video, batch.audio, batch.video_mask, nothing, batch.lengths)
    other = ClipBatch(batch.video, batch.audio * 9, batch.video_mask, nothing, batch.lengths)
    assert torch.equal(net(some), net(other))


@pytest.mark.parametrize("modality", ["picture", "sound"])
def test_one_modality_ignores_the_other(modality: str) -> None:
    net, batch = build(modalities=modality), clips([5])
    changed = ClipBatch(
        batch.video + (modality == "sound"), batch.audio + (modality == "picture"),
        batch.video_mask, batch.audio_mask, batch.lengths,
    )  # fmt: skip
    assert torch.equal(net(batch), net(changed))


def test_gradients_reach_every_weight() -> None:
    net = build()
    net(clips([6, 3]))[:, 0].sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_wrong_shapes_and_lengths_are_refused() -> None:
    net, batch = build(), clips([4])
    with pytest.raises(ValueError, match=r"picture must be \[1, 4, 12\]"):
        net(ClipBatch(batch.video[:, :3], batch.audio, batch.video_mask, batch.audio_mask,
                      batch.lengths))  # fmt: skip
    with pytest.raises(ValueError, match="lengths must lie in 1…4"):
        length_mask(torch.tensor([5]), 4)
    with pytest.raises(ValueError, match="resolved"):
        build(modalities="auto")
