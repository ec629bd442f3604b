"""Laws that hold for every temporal head."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads.build import build_head
from models.heads.contract import reversed_in_length
from models.settings import ModelSettings

CAUSAL = ["gru", "lstm", "rnn", "layer_norm_gru", "layer_norm_lstm", "dilated", "mean"]
TWO_WAYS = ["gru", "lstm", "rnn", "layer_norm_gru", "layer_norm_lstm"]
ALL = [(name, False) for name in CAUSAL] + [(name, True) for name in TWO_WAYS]
N_IN, UNITS = 5, 8


def build(name: str, bidirectional: bool = False, layers: int = 2, **more):
    torch.manual_seed(0)
    chosen = ModelSettings(
        head=name, head_units=UNITS, head_layers=layers, bidirectional=bidirectional, **more
    )
    return build_head(chosen, N_IN).eval()


@pytest.mark.parametrize(("name", "bidirectional"), ALL)
@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6), layers=st.integers(1, 3))
def test_all_steps_inside_and_none_depends_on_neighbours(
    name: str, bidirectional: bool, lengths: list[int], layers: int
) -> None:
    # double: a norm of nearly equal numbers enlarges rounding
    head = build(name, bidirectional, layers).double()
    x = torch.randn(len(lengths), max(lengths), N_IN, dtype=torch.double)
    steps = head(x, torch.tensor(lengths))
    assert steps.shape == (len(lengths), max(lengths), UNITS)
    for row, n in enumerate(lengths):
        alone = head(x[row : row + 1, :n], torch.tensor([n]))
        assert torch.allclose(steps[row, :n], alone[0], atol=1e-9)
        assert not steps[row, n:].any()


@pytest.mark.parametrize("name", CAUSAL)
@settings(deadline=None, max_examples=15)
@given(parts=st.lists(st.integers(1, 9), min_size=1, max_size=6), layers=st.integers(1, 4))
def test_causal_heads_go_on_where_they_were(name: str, parts: list[int], layers: int) -> None:
    head = build(name, layers=layers).double()
    x = torch.randn(2, sum(parts), N_IN, dtype=torch.double)
    state, found = None, []
    for part in x.split(parts, dim=1):
        steps, state = head.advance(part, state)
        found.append(steps)
    whole = head(x, torch.tensor([x.shape[1]] * 2))
    assert torch.allclose(torch.cat(found, dim=1), whole, atol=1e-9)


@pytest.mark.parametrize(("name", "bidirectional"), ALL)
def test_what_a_step_sees(name: str, bidirectional: bool) -> None:
    """Causal heads see nothing that comes later; the others do, and no head but the mean and the
    dilated one forgets the first step."""
    head, n = build(name, bidirectional), torch.tensor([12])
    assert head.causal is not bidirectional
    x = torch.randn(1, 12, N_IN)
    steps = head(x, n)
    later, earlier = x.clone(), x.clone()
    later[:, 6:] += 1
    earlier[:, 0] += 1
    assert torch.equal(head(later, n)[:, :6], steps[:, :6]) is not bidirectional
    forgets = name in ("mean", "dilated")  # two layers look back three steps
    assert torch.equal(head(earlier, n)[:, -1], steps[:, -1]) is forgets


@pytest.mark.parametrize("name", TWO_WAYS)
def test_heads_that_look_ahead_do_not_go_step_by_step(name: str) -> None:
    with pytest.raises(TypeError, match="looks ahead"):
        build(name, bidirectional=True).advance(torch.zeros(1, 3, N_IN), None)


@pytest.mark.parametrize(("name", "bidirectional"), ALL)
def test_gradients_are_right(name: str, bidirectional: bool) -> None:
    """Against finite differences, in double precision; and they reach every weight."""
    head = build(name, bidirectional).double()
    x = torch.randn(2, 4, N_IN, dtype=torch.double, requires_grad=True)
    lengths = torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda given: head(given, lengths), (x,))
    head(x, lengths).square().sum().backward()
    missing = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@pytest.mark.parametrize("name", CAUSAL)
def test_wrong_width_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\[B, T, 5\]"):
        build(name)(torch.zeros(1, 3, 4), torch.tensor([3]))


def test_the_dilated_head_looks_back_as_far_as_it_says() -> None:
    for layers in (1, 2, 3, 4):
        head, back = build("dilated", layers=layers), 2**layers - 1
        x = torch.randn(1, 20, N_IN)
        for distance, seen in ((back, True), (back + 1, False)):
            other = x.clone()
            other[:, 19 - distance] += 1
            n = torch.tensor([20])
            assert torch.equal(head(other, n)[:, 19], head(x, n)[:, 19]) is not seen


def test_dropout_at_steps_differs_from_step_to_step() -> None:
    head = build("layer_norm_gru", layers=1, step_dropout=0.5).train()
    x = torch.ones(1, 30, N_IN)
    torch.manual_seed(0)
    first, again = (head(x, torch.tensor([30])) for _ in range(2))
    assert not torch.allclose(first, again)
    assert torch.equal(head.eval()(x, torch.tensor([30])), head(x, torch.tensor([30])))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_reversed_twice_is_the_same(lengths: list[int]) -> None:
    x, n = torch.randn(len(lengths), max(lengths), 2), torch.tensor(lengths)
    back = reversed_in_length(x, n)
    assert torch.equal(reversed_in_length(back, n), x)
    for row, length in enumerate(lengths):
        assert torch.equal(back[row, :length], x[row, :length].flip(0))
        assert torch.equal(back[row, length:], x[row, length:])
