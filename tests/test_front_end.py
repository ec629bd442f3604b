""" """

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audio.front_end import AudioFrontEnd, apply_gain, band_statistics, mel_hop_samples
from models.settings import CHANGE_LAGS, N_BAND_STATISTICS, ModelSettings

RATES = [(16_000, 16_000), (16_000, 32_000), (16_000, 8000), (24_000, 4000), (8000, 8000)]

LOG_MEL = ModelSettings(audio_front_end="log_mel")
PRETRAINED = ModelSettings(audio_front_end="pretrained", sound_hop_s=0.5)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(RATES), st.integers(1, 6), st.integers(0, 5))
def test_an_impulse_lights_the_frame_of_its_own_hop(rates, steps: int, seed: int) -> None:
    rate, step = rates
    front = AudioFrontEnd(LOG_MEL, rate, step)
    total = steps * step
    frame = int(torch.randint(0, total // front.hop, (1,), generator=_seed(seed)))
    wave = torch.zeros(1, total)
    wave[0, frame * front.hop + front.hop // 2] = 1.0
    bands = front(wave)
    assert bands.shape == (1, total // front.hop, 64)
    assert int(bands.mean(dim=2).argmax()) == frame


def test_waveform_front_end_is_the_waveform() -> None:
    front = AudioFrontEnd(ModelSettings(audio_front_end="waveform"), 8000, 8000)
    wave = torch.tensor([[16384] * 8000], dtype=torch.int16)
    assert front(wave).shape == (1, 8000, 1)
    assert float(front(wave)[0, 0, 0]) == 0.5
    assert front.frames_per_step == 8000


def test_default_hop_is_the_divisor_nearest_to_ten_ms() -> None:
    assert mel_hop_samples(None, 16_000, 16_000) == 160
    assert mel_hop_samples(None, 16_000, 2000) in (125, 200)
    assert 2000 % mel_hop_samples(None, 16_000, 2000) == 0


def test_a_hop_that_does_not_fit_names_those_that_do() -> None:
    assert mel_hop_samples(12.5, 16_000, 2000) == 200
    with pytest.raises(ValueError, match=r"model\.mel_hop_ms=10 .*12\.5") as caught:
        mel_hop_samples(10.0, 16_000, 2000)
    assert "clip.frame_rate_hz" in str(caught.value)


def test_part_of_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="a multiple of 8000"):
        AudioFrontEnd(LOG_MEL, 8000, 8000)(torch.zeros(1, 8001))


def _seed(value: int) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def test_the_pretrained_front_end_takes_windows_as_they_are() -> None:
    front = AudioFrontEnd(PRETRAINED, 8000, 8000, n_window_features=3)
    assert (front.inputs_per_step, front.frames_per_step, front.n_bands) == (2, 2, 3)
    vectors = torch.randn(1, 6, 3).half()
    assert torch.equal(front(vectors), vectors.float())
    assert front.silence(2).shape == (4, 3)
    with pytest.raises(ValueError, match=r"windows must be \[B, M, 3\]"):
        front(torch.zeros(1, 6, 2))
    with pytest.raises(ValueError, match="a multiple of 2, got 5"):
        front(torch.zeros(1, 5, 3))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["log_mel", "waveform"]), st.floats(-20, 20), st.integers(0, 9))
def test_louder_is_what_a_louder_recording_would_give(kind: str, gain_db: float, seed: int) -> None:
    front = AudioFrontEnd(ModelSettings(audio_front_end=kind), 8000, 8000)
    wave = 0.05 * torch.randn(2, 16_000, generator=_seed(seed))
    gains = torch.tensor([gain_db, 0.0])
    expected = front(wave * 10 ** (gains[:, None] / 20))
    assert torch.allclose(apply_gain(front(wave), gains, kind), expected, atol=1e-3)


def test_features_of_windows_cannot_be_made_louder() -> None:
    with pytest.raises(ValueError, match="gain cannot be applied"):
        apply_gain(torch.zeros(1, 2, 3), torch.zeros(1), "pretrained")


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3),
    frames=st.integers(1, 30),
    bands=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_they_are_what_they_are_called(n: int, frames: int, bands: int, seed: int) -> None:
    """By the definition, number by number."""
    torch.manual_seed(seed)
    x = torch.randn(n, frames, bands)
    found = band_statistics(x)
    assert found.shape == (n, N_BAND_STATISTICS * bands)
    parts = found.reshape(n, N_BAND_STATISTICS, bands).unbind(1)
    mean, deviation, top, level, spread, *changes = parts
    shape = x - x.mean(2, keepdim=True)
    assert torch.allclose(mean, x.mean(1), atol=1e-5)
    assert torch.allclose(deviation, x.std(1, correction=0), atol=2e-4)
    assert torch.equal(top, x.max(1).values)
    assert torch.allclose(level, shape.mean(1), atol=1e-5)
    assert torch.allclose(spread, shape.std(1, correction=0), atol=2e-4)
    for lag, change in zip(CHANGE_LAGS, changes, strict=True):
        each = [(x[:, t] - x[:, t - lag]).abs() for t in range(lag, frames)]
        expected = torch.stack(each).mean(0) if each else torch.zeros(n, bands)
        assert torch.allclose(change, expected, atol=1e-5)


def test_a_rattle_and_a_hum_of_one_loudness_are_told_apart_by_change_alone() -> None:
    frames = torch.arange(100)
    slow, fast = (torch.sin(2 * torch.pi * frames / period)[None, :, None] for period in (100, 4))
    hum, rattle = (band_statistics(x.expand(1, 100, 2))[0].reshape(-1, 2) for x in (slow, fast))
    assert float(hum[1, 0]) == pytest.approx(float(rattle[1, 0]), rel=0.05)  # deviation
    assert rattle[5, 0] > 10 * hum[5, 0]  # change over one frame
