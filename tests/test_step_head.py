"""Networks with a row of logits for each step: chunks, batches, causality; the smoothed loss."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.heads.step import (
    RefinedStepHead,
    StepHead,
    build_step_head,
)
from models.losses import SmoothedCrossEntropy, WeightedCrossEntropy
from models.settings import ModelSettings
from models.streaming import ClassifierStream, StepChunk
from pipeline.features.samples import one_thread

RATE_HZ, PER_STEP = 8000, 400
HEADS = [
    {}, {"head": "gru", "bidirectional": True, "head_units": 8}, {"head": "dilated"},
    {"rows_per_step": 3}, {"rows_per_step": 2, "history_steps": 4},  # forecasts
    {"refinement_stages": 2},
]  # fmt: skip


def build(rows_per_step: int = 1, history_steps: int | None = None, **changes):
    torch.manual_seed(0)
    small = {
        "audio_channels": 8, "audio_features": 6, "picture_features": 7, "head_units": 9,
        "mel_bins": 8, "modalities": "both", "audio_front_end": "log_mel",
    }  # fmt: skip
    model = ModelSettings(**(small | changes))
    front_end = AudioFrontEnd(model, RATE_HZ, PER_STEP, 4)
    sizes = Dimensions(
        5, front_end.n_bands, front_end.frames_per_step, RATE_HZ, 3, history_steps=history_steps
    )
    head = partial(build_step_head, rows_per_step=rows_per_step)
    return AudioVisualClassifier(model, sizes, head).eval(), front_end


def clip(n_steps: int, seed: int) -> StepChunk:
    generator = torch.Generator().manual_seed(seed)
    return StepChunk(
        torch.randn(n_steps, 5, generator=generator),
        torch.randint(-9000, 9000, (n_steps * PER_STEP,), generator=generator).to(torch.int16),
        torch.rand(n_steps, generator=generator) > 0.2,
        torch.rand(n_steps, generator=generator) > 0.2,
    )


def part(whole: StepChunk, start: int, end: int) -> StepChunk:
    return StepChunk(
        whole.video[start:end], whole.audio[start * PER_STEP : end * PER_STEP],
        whole.video_mask[start:end], whole.audio_mask[start:end],
    )  # fmt: skip


def batch(front_end, clips: list[StepChunk]) -> ClipBatch:
    longest = max(each.n_steps for each in clips)

    def padded(tensor, n: int):
        return torch.cat([tensor, tensor.new_zeros(n - tensor.shape[0], *tensor.shape[1:])])

    frames = front_end.frames_per_step
    return ClipBatch(
        torch.stack([padded(c.video, longest) for c in clips]),
        torch.stack([padded(front_end(c.audio[None])[0], longest * frames) for c in clips]),
        torch.stack([padded(c.video_mask, longest) for c in clips]),
        torch.stack([padded(c.audio_mask, longest) for c in clips]),
        torch.tensor([c.n_steps for c in clips]),
    )


@pytest.mark.parametrize("changes", HEADS)
@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_a_stream_gives_the_rows_of_the_whole(changes, sizes: list[int], seed: int) -> None:
    net, front_end = build(**changes)
    whole, stream, at = clip(sum(sizes), seed), ClassifierStream(net, front_end), 0
    with torch.inference_mode():
        for size in sizes:
            stream.push(part(whole, at, at + size))
            at += size
        found = stream.outputs()
        expected = net.outputs(batch(front_end, [whole]))
    assert torch.allclose(found.fused, expected.fused, atol=1e-5)
    for name in expected.unimodal:
        assert torch.allclose(found.unimodal[name], expected.unimodal[name], atol=1e-5)
        assert torch.equal(found.present[name], expected.present[name])


@pytest.mark.parametrize("changes", HEADS)
def test_rows_do_not_depend_on_other_clips_of_the_batch(changes) -> None:
    net, front_end = build(**changes)
    first, second = clip(7, 0), clip(12, 1)
    with torch.inference_mode():
        alone = net.outputs(batch(front_end, [first])).fused
        together = net.outputs(batch(front_end, [first, second])).fused
    rows_per_step = changes.get("rows_per_step", 1)
    assert alone.shape == (7 * rows_per_step, 3)
    assert together.shape == (19 * rows_per_step, 3)
    assert torch.allclose(together[: 7 * rows_per_step], alone, atol=1e-5)


def test_a_causal_network_knows_nothing_of_later_features() -> None:
    """Picture features: sound reaches back through the convolutions of the audio encoder."""
    net, front_end = build(modalities="picture")
    whole = clip(12, 3)
    later = StepChunk(
        torch.cat([whole.video[:8], whole.video[8:] + 5]), whole.audio, whole.video_mask,
        whole.audio_mask,
    )  # fmt: skip
    with torch.inference_mode():
        before, after = (net.outputs(batch(front_end, [each])).fused for each in (whole, later))
    assert torch.equal(before[:8], after[:8])
    assert not torch.allclose(before[8:], after[8:])


def rows(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 3, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return logits, torch.nn.functional.one_hot(labels, 3).float()


def test_only_neighbouring_steps_are_smoothed() -> None:
    logits, targets = rows(6)
    plain = WeightedCrossEntropy([1.0] * 3, 0.1)(logits, targets)
    loss = SmoothedCrossEntropy([1.0] * 3, 0.1, 2.0)
    apart = torch.arange(6) * 2
    assert torch.equal(loss(logits, targets, apart), plain)
    assert torch.equal(loss(logits, targets), plain)
    log_p = logits.log_softmax(dim=-1)
    pair = torch.tensor([0, 1, 5, 7, 9, 20])  # only the first two are neighbours
    expected = plain + 2 * (log_p[1] - log_p[0]).square().mean()
    assert torch.allclose(loss(logits, targets, pair), expected)
    constant = torch.zeros(6, 3)
    assert torch.equal(loss(constant, targets, torch.arange(6)),
                       WeightedCrossEntropy([1.0] * 3, 0.1)(constant, targets))  # fmt: skip


def test_a_sharp_change_costs_a_bounded_amount() -> None:
    logits = torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]])
    targets = torch.eye(3)[:2]
    loss = SmoothedCrossEntropy([1.0] * 3, 0.0, 1.0)
    assert float(loss(logits, targets, torch.arange(2))) <= 16.0 + 1e-3


def test_refinement_stages_remove_most_single_wrong_steps() -> None:
    """Trained on runs of ten steps whose logits name another class now and then."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    truth = torch.arange(3).repeat_interleave(10).repeat(2)[None].expand(4, -1)  # [4, 60]

    def noisy() -> torch.Tensor:
        wrong = torch.rand(truth.shape, generator=generator) < 0.1
        shown = torch.where(wrong, torch.randint(0, 3, truth.shape, generator=generator), truth)
        return 5 * nn.functional.one_hot(shown, 3).float()  # [4, 60, 3]

    head = RefinedStepHead(3, 3, 0.0, 1)
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(3))
        head.linear.bias.zero_()
    valid = torch.ones(truth.shape, dtype=torch.bool)
    optimizer = torch.optim.Adam(head.stages.parameters(), lr=0.01)
    with one_thread():  # small matrices
        for _ in range(50):
            rows = head(noisy(), valid, valid)
            optimizer.zero_grad()
            nn.functional.cross_entropy(rows, truth.flatten()).backward()
            optimizer.step()
    features = noisy()
    with torch.inference_mode():
        state = head.update(None, features, valid, valid)
        (before,), after = head.earlier_logits(state), head.logits(state)
    assert torch.equal(before, features.flatten(0, 1))

    def n_wrong(rows: torch.Tensor) -> int:
        return int((rows.argmax(dim=1) != truth.flatten()).sum())

    assert n_wrong(after) < n_wrong(before) / 2


def test_all_stages_are_trained_and_unimodal_heads_have_one() -> None:
    net, front_end = build(refinement_stages=2)
    assert isinstance(net.head, RefinedStepHead)
    assert all(isinstance(head, StepHead) for head in net.unimodal.values())
    states = net.head_states(batch(front_end, [clip(5, 0), clip(3, 1)]))
    rows = [*net.head.earlier_logits(states.fused), net.head.logits(states.fused)]
    assert [tuple(each.shape) for each in rows] == [(8, 3)] * 3
    assert build()[0].head.earlier_logits(states.fused) == []
    for each, part_of in zip(rows, (net.head.linear, *net.head.stages), strict=True):
        parameters = list(part_of.parameters())
        found = torch.autograd.grad(each.square().sum(), parameters, retain_graph=True)
        assert all(bool(gradient.abs().sum() > 0) for gradient in found)


@pytest.mark.parametrize("head", [StepHead(4, 3, 0.0, 2), RefinedStepHead(4, 3, 0.0, 1)])
def test_chunks_of_several_clips_give_the_rows_of_the_whole(head) -> None:
    features, valid = torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)
    state = None
    for part_of in (slice(0, 2), slice(2, 6)):
        state = head.update(state, features[:, part_of], valid[:, part_of], valid[:, part_of])
    assert torch.allclose(head.logits(state), head(features, valid, valid), atol=1e-6)
