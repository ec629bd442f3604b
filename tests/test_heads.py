import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads.clip import build_pooling

NAMES = ["last", "mean", "deviation", "attention"]


def build(name: str, width: int = 3):
    torch.manual_seed(0)
    return build_pooling(name, width)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 99))
def test_parts_give_what_the_whole_gives(name: str, parts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    readout, total = build(name), sum(parts)
    steps = torch.randn(2, total, 3, generator=generator) + 5
    counts = torch.rand(2, total, generator=generator) > 0.3
    state = None
    for part, some in zip(steps.split(parts, 1), counts.split(parts, 1), strict=True):
        state = readout.update(state, part, some)
    assert torch.allclose(readout.result(state), readout(steps, counts), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_steps_that_do_not_count_cannot_matter(name: str) -> None:
    readout, steps = build(name), torch.randn(2, 5, 3)
    counts = torch.tensor([[True, True, False, True, False], [False] * 5])
    other = torch.where(counts[:, :, None], steps, torch.full_like(steps, 99.0))
    assert torch.equal(readout(steps, counts), readout(other, counts))
    assert not readout(steps, counts)[1].any()
    alone = readout(steps[:1, counts[0]], torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(readout(steps, counts)[:1], alone, atol=1e-6)


def test_last_is_each_clips_own() -> None:
    steps = torch.arange(24.0).reshape(2, 4, 3)
    counts = torch.tensor([[True, True, False, False], [True] * 4])
    assert build("last")(steps, counts).tolist() == [[3, 4, 5], [21, 22, 23]]


def test_moments_are_numpys() -> None:
    steps = torch.randn(1, 50, 3) * 3 + 100
    found = build("deviation")(steps, torch.ones(1, 50, dtype=torch.bool))[0].numpy()
    wanted = np.concatenate([steps[0].numpy().mean(0), steps[0].numpy().std(0)])
    assert np.allclose(found, wanted, atol=2e-3)


def test_attention_is_a_weighted_mean() -> None:
    steps = torch.randn(1, 9, 3)
    found = build("attention")(steps, torch.ones(1, 9, dtype=torch.bool))[0]
    assert bool((found <= steps[0].amax(0)).all() and (found >= steps[0].amin(0)).all())
    one = build("attention")(steps[:, :1], torch.ones(1, 1, dtype=torch.bool))[0]
    assert torch.allclose(one, steps[0, 0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_where_nothing_changes(name: str) -> None:
    steps = torch.ones(1, 4, 3, requires_grad=True)
    build(name)(steps, torch.ones(1, 4, dtype=torch.bool)).sum().backward()
    assert steps.grad is not None
    assert bool(torch.isfinite(steps.grad).all())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mask must be \[2, 4\]"):
        build("mean")(torch.zeros(2, 4, 3), torch.ones(2, 3, dtype=torch.bool))
