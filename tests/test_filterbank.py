import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audio_front_end import AudioFrontEnd
from models.filterbank import Filterbank
from models.settings import ModelSettings

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
    with pytest.raises(ValueError, match="whole hops of 160, got 1680"):
        Filterbank(8, RATE_HZ, 160)(torch.zeros(1, 1680, 1))
