import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.band_statistics import band_statistics
from models.widths import CHANGE_LAGS, N_BAND_STATISTICS


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
