""" """

from __future__ import annotations

import math
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.audio.encoder import AudioEncoder, Filterbank, factorise_strides, resolve_strides
from models.audio.front_end import AudioFrontEnd
from models.settings import ModelSettings

# (audio rate, samples per step): every allowed pair of rates divides
PAIRS = [(16_000, 16_000), (16_000, 8000), (16_000, 3200), (24_000, 4000), (22_050, 22_050)]


def build(
    front_end: str, rate: int, step: int, seed: int = 0
) -> tuple[AudioFrontEnd, AudioEncoder]:
    torch.manual_seed(seed)
    settings_ = ModelSettings(audio_front_end=front_end, audio_channels=16, audio_features=24)
    front = AudioFrontEnd(settings_, rate, step)
    return front, AudioEncoder(settings_, front.n_bands, front.frames_per_step, rate).eval()


@given(st.integers(1, 60_000))
def test_factorised_strides_multiply_to_the_frames_per_step(n: int) -> None:
    largest = max((p for p in range(2, n + 1) if n % p == 0 and is_prime(p)), default=1)
    if largest > 19:
        with pytest.raises(ValueError, match="do not factorise"):
            factorise_strides(n)
    else:
        assert prod(factorise_strides(n)) == n


def is_prime(p: int) -> bool:
    return all(p % q for q in range(2, int(p**0.5) + 1))


def test_strides_that_do_not_multiply_are_refused() -> None:
    assert resolve_strides(ModelSettings(audio_strides=(10, 10)), 100) == (10, 10)
    with pytest.raises(ValueError, match=r"multiply to 50, but .*clip\.frame_rate_hz.* 100"):
        resolve_strides(ModelSettings(audio_strides=(10, 5)), 100)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(PAIRS), st.sampled_from(["log_mel", "waveform"]), st.integers(1, 9))
def test_exactly_one_vector_per_step(pair, front_end: str, steps: int) -> None:
    front, encoder = build(front_end, *pair)
    frames = front(torch.randn(2, steps * pair[1]) * 0.1)
    out = encoder(frames, torch.ones(2, steps, dtype=torch.bool))
    assert out.shape == (2, steps, 24)


def excited_step(encoder: AudioEncoder, frames: torch.Tensor, silence: torch.Tensor) -> int:
    """The step whose vector differs most between the two inputs [1, M, D]."""
    mask = torch.ones(1, frames.shape[1] // encoder.frames_per_step, dtype=torch.bool)
    with torch.inference_mode():
        change = (encoder(frames, mask) - encoder(silence, mask)).norm(dim=2)
    return int(change.argmax())


def alignment(front: AudioFrontEnd, encoder: AudioEncoder, step_samples: int) -> list[bool]:
    """For an impulse in the middle of each of five steps: does it excite that step most?"""
    hits = []
    for t in range(5):
        wave = torch.zeros(1, 5 * step_samples)
        wave[0, t * step_samples + step_samples // 2] = 1.0
        hits.append(excited_step(encoder, front(wave), front(torch.zeros_like(wave))) == t)
    return hits


def without_shortcut(encoder: AudioEncoder) -> AudioEncoder:
    """Only the convolutions: the shortcut is aligned by construction and would hide a shift."""
    for weights in encoder.shortcut.parameters():
        nn.init.zeros_(weights)
    return encoder


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(PAIRS), st.sampled_from(["log_mel", "waveform"]), st.integers(0, 1000))
def test_an_impulse_excites_its_own_step(pair, front_end: str, seed: int) -> None:
    front, encoder = build(front_end, *pair, seed)
    assert all(alignment(front, without_shortcut(encoder), pair[1]))


@pytest.mark.parametrize("front_end", ["log_mel", "waveform"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_padding_shifted_by_one_step_is_noticed(front_end: str, shift: int) -> None:
    front, encoder = build(front_end, 16_000, 16_000)
    last = encoder.layers[-1]
    pad = last.conv.padding[0]
    last.conv.padding = (0,)
    inner = last.conv.forward
    left, right = pad + shift * last.stride, pad - shift * last.stride
    last.conv.forward = lambda x: inner(nn.functional.pad(x, (left, right)))
    assert not any(alignment(front, without_shortcut(encoder), 16_000)[1:4])


@pytest.mark.parametrize("front_end", ["log_mel", "waveform"])
def test_receptive_field_is_centred_on_the_step(front_end: str) -> None:
    """The inputs that reach vector t lie as far before the middle of step t as after it."""
    _, encoder = build(front_end, 16_000, 3200)
    per_step, steps = encoder.frames_per_step, 9
    frames = torch.randn(1, steps * per_step, encoder.n_bands, requires_grad=True)
    out = encoder(frames, torch.ones(1, steps, dtype=torch.bool))
    out[0, 4].abs().sum().backward()
    reached = torch.nonzero(frames.grad.abs().sum(dim=(0, 2)))
    first, last = int(reached.min()), int(reached.max())
    assert (first + last) / 2 == pytest.approx(4.5 * per_step - 0.5)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5), st.sampled_from(["log_mel", "waveform"])
)
def test_neighbours_and_padding_do_not_matter(lengths: list[int], front_end: str) -> None:
    front, encoder = build(front_end, 8000, 800)
    longest = max(lengths)
    waves = [torch.randn(1, n * 800) * 0.2 for n in lengths]
    padded = torch.randn(len(lengths), longest * 800)  # what lies in the padding must not matter
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    frames = front(padded)
    for row, (wave, n) in enumerate(zip(waves, lengths, strict=True)):
        frames[row, : n * front.frames_per_step] = front(wave)[0]
        mask[row, :n] = True
    with torch.inference_mode():
        together = encoder(frames, mask)
        for row, (wave, n) in enumerate(zip(waves, lengths, strict=True)):
            alone = encoder(front(wave), torch.ones(1, n, dtype=torch.bool))
            assert torch.allclose(together[row, :n], alone[0], atol=1e-5)
            assert not together[row, n:].any()


def test_wrong_shapes_are_refused() -> None:
    _, encoder = build("log_mel", 16_000, 16_000)
    with pytest.raises(ValueError, match=r"front end must be \[1, 200, 64\]"):
        encoder(torch.zeros(1, 100, 64), torch.ones(1, 2, dtype=torch.bool))


RATE_HZ = 16_000


def noise(n_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, n_samples, 1, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([8000, 16_000, 22_050, 44_100]), st.integers(1, 500), st.integers(1, 9),
    st.integers(2, 40),
)  # fmt: skip
def test_one_frame_per_hop(rate_hz: int, hop: int, n_frames: int, n_bands: int) -> None:
    bands = Filterbank(n_bands, rate_hz, hop)(torch.zeros(2, n_frames * hop, 1))
    assert bands.shape == (2, n_frames, n_bands)
    assert torch.isfinite(bands).all()


@pytest.mark.parametrize("tone_hz", [200, 600, 1500, 4000, 7000])
def test_a_tone_is_loudest_in_a_band_of_its_frequency(tone_hz: int) -> None:
    wave = 0.3 * torch.sin(2 * math.pi * tone_hz * torch.arange(RATE_HZ) / RATE_HZ)[None]
    bands = Filterbank(64, RATE_HZ, 160)(wave[:, :, None]).mean(dim=1)[0]
    centres_mel = torch.linspace(
        2595 * math.log10(1 + 60 / 700), 2595 * math.log10(1 + 7600 / 700), 66
    )
    centres_hz = 700 * (10 ** (centres_mel[1:-1] / 2595) - 1)
    assert abs(int(bands.argmax()) - int((centres_hz - tone_hz).abs().argmin())) <= 1
    assert bands.max() - bands.median() > 1


def test_noise_is_as_loud_as_from_log_mel() -> None:
    samples = noise(4 * RATE_HZ)
    fresh = Filterbank(64, RATE_HZ, 160)(samples).detach()
    log_mel = AudioFrontEnd(ModelSettings(audio_front_end="log_mel"), RATE_HZ, RATE_HZ)
    expected = log_mel(samples[:, :, 0])
    assert float(fresh.mean()) == pytest.approx(float(expected.mean()), abs=0.15)


@pytest.mark.parametrize("middle", [80, 800, 15_920])
def test_a_click_is_loudest_in_its_own_frame(middle: int) -> None:
    samples = torch.zeros(1, RATE_HZ, 1)
    samples[0, middle] = 1
    loudness = Filterbank(64, RATE_HZ, 160)(samples).mean(dim=2)[0]
    assert int(loudness.argmax()) == middle // 160


def test_nothing_farther_away_than_its_reach_matters() -> None:
    bank = Filterbank(8, RATE_HZ, 160)
    samples = noise(3200).requires_grad_()
    bank(samples)[0, 10].sum().backward()
    reached = torch.nonzero(samples.grad[0, :, 0])
    assert int(reached.min()) == 1600 - bank.reach
    assert int(reached.max()) == 1759 + bank.reach


def test_its_filters_are_learned() -> None:
    bank = Filterbank(8, RATE_HZ, 160)
    bank(noise(1600)).sum().backward()
    slope = bank.filters.weight.grad
    assert torch.isfinite(slope).all()
    assert slope.abs().sum(dim=(1, 2)).min() > 0


def test_a_part_of_a_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="a multiple of 160 samples, got 1680"):
        Filterbank(8, RATE_HZ, 160)(torch.zeros(1, 1680, 1))
