"""Chunked and whole: the same logits, whatever the chunks, for every front end and head."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.settings import ModelSettings
from models.streaming import ClassifierStream, StepChunk, context_steps

RATE_HZ = 8000
HEADS = [
    {}, {"head": "lstm"}, {"head": "gru", "bidirectional": True, "head_units": 8},
    {"head": "dilated", "readout": "mean"}, {"head": "mean"}, {"readout": "attention"},
    {"head": "layer_norm_lstm", "motion": True}, {"motion": True, "own_answers": False},
    {"head": "rnn", "readout": "deviation"},
]  # fmt: skip


def build(samples_per_step: int, **changes):
    torch.manual_seed(0)
    small = {
        "audio_channels": 8, "audio_features": 6, "picture_features": 7, "head_units": 9,
        "mel_bins": 8, "modalities": "both", "audio_front_end": "log_mel",
        "sound_hop_s": samples_per_step / RATE_HZ / 2,
    }  # fmt: skip
    model = ModelSettings(**(small | changes))
    front_end = AudioFrontEnd(model, RATE_HZ, samples_per_step, 4)
    sizes = Dimensions(5, front_end.n_bands, front_end.frames_per_step, RATE_HZ, 3)
    return AudioVisualClassifier(model, sizes).eval(), front_end


def clip(n_steps: int, samples_per_step: int, seed: int, windows: bool = False) -> StepChunk:
    generator = torch.Generator().manual_seed(seed)
    wave = torch.randint(-9000, 9000, (n_steps * samples_per_step,), generator=generator)
    vectors = torch.randn(n_steps * 2, 4, generator=generator)
    return StepChunk(
        torch.randn(n_steps, 5, generator=generator),
        vectors if windows else wave.to(torch.int16),
        torch.rand(n_steps, generator=generator) > 0.2,
        torch.rand(n_steps, generator=generator) > 0.2,
    )


def whole_logits(net, front_end, whole: StepChunk):
    batch = ClipBatch(
        whole.video[None], front_end(whole.audio[None]), whole.video_mask[None],
        whole.audio_mask[None], torch.tensor([whole.n_steps]),
    )  # fmt: skip
    return net(batch)[0]


def streamed_logits(net, front_end, whole: StepChunk, sizes: list[int]):
    stream, start, step = ClassifierStream(net, front_end), 0, front_end.inputs_per_step
    for size in [*sizes, whole.n_steps]:
        end = min(start + size, whole.n_steps)
        if start < end:
            stream.push(
                StepChunk(
                    whole.video[start:end], whole.audio[start * step : end * step],
                    whole.video_mask[start:end], whole.audio_mask[start:end],
                )
            )  # fmt: skip
        start = end
    return stream.outputs().combined(net.fusion_weights)[0]


@settings(deadline=None, max_examples=120)
@given(
    n_steps=st.integers(1, 90),
    sizes=st.lists(st.integers(1, 40), max_size=12),
    head=st.sampled_from(HEADS),
    front_end=st.sampled_from(["pretrained", "log_mel", "waveform"]),
    # from one step per second to 25: there a step is shorter than the kernels reach
    samples_per_step=st.sampled_from([8000, 1600, 320]),
    layers=st.integers(1, 2),
    modalities=st.sampled_from(["both", "both", "sound", "picture"]),
)
def test_chunked_equals_whole(
    n_steps, sizes, head, front_end, samples_per_step, layers, modalities
) -> None:
    net, front = build(
        samples_per_step, **head, audio_front_end=front_end, head_layers=layers,
        modalities=modalities,
    )  # fmt: skip
    whole = clip(n_steps, samples_per_step, n_steps, front.takes_windows)
    with torch.inference_mode():
        expected = whole_logits(net, front, whole)
        got = streamed_logits(net, front, whole, sizes)
    assert torch.allclose(got, expected, atol=1e-5, rtol=0)


def test_one_chunk_is_the_whole_to_the_bit() -> None:
    net, front = build(8000)
    whole = clip(64, 8000, 1)
    with torch.inference_mode():
        assert torch.equal(streamed_logits(net, front, whole, []), whole_logits(net, front, whole))


@pytest.mark.parametrize("samples_per_step", [8000, 320])
def test_context_is_as_long_as_sound_reaches_and_no_less(samples_per_step: int) -> None:
    """A click changes audio vectors up to the context's distance, none beyond."""
    net, front = build(samples_per_step)
    reach, middle, n_steps = context_steps(net, front), 30, 61
    quiet = torch.zeros(n_steps * samples_per_step)
    click = quiet.clone()
    click[middle * samples_per_step : (middle + 1) * samples_per_step] = 0.9
    mask = torch.ones(1, n_steps, dtype=torch.bool)
    with torch.inference_mode():
        vectors = [net.audio_encoder(front(wave[None]), mask)[0] for wave in (quiet, click)]
    changed = (vectors[0] - vectors[1]).abs().amax(dim=1) > 1e-6
    steps = torch.flatnonzero(changed) if hasattr(torch, "flatnonzero") else changed.nonzero()[:, 0]
    assert middle - reach <= int(steps.min()) <= middle - reach + 1
    assert middle + reach - 1 <= int(steps.max()) <= middle + reach


def test_memory_does_not_grow_with_the_clip() -> None:
    net, front = build(320)
    stream = ClassifierStream(net, front)
    for seed in range(300):
        with torch.inference_mode():
            stream.push(clip(1, 320, seed))
        assert stream._waiting.n_steps <= 2 * stream.context_steps + 1


def test_nothing_pushed_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one chunk"):
        ClassifierStream(*build(8000)).outputs()
