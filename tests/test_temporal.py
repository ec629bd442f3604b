"""Laws that hold for every temporal head.

The cells written from their equations against torch's layers.

What the recurrent toolbox is for: gradients that do not explode, and memory of long ago.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.settings import ModelSettings
from models.temporal import build_temporal_model
from models.temporal.base import HistoryModel, reversed_in_length
from models.temporal.recurrent import GruCell, LstmCell, run

CAUSAL = ["gru", "lstm", "rnn", "layer_norm_gru", "layer_norm_lstm", "dilated", "mean"]
TWO_WAYS = ["gru", "lstm", "rnn", "layer_norm_gru", "layer_norm_lstm"]
ALL = [(name, False) for name in CAUSAL] + [(name, True) for name in TWO_WAYS]
N_IN, UNITS = 5, 8


def build(name: str, bidirectional: bool = False, layers: int = 2, **more):
    torch.manual_seed(0)
    chosen = ModelSettings(
        head=name, head_units=UNITS, head_layers=layers, bidirectional=bidirectional, **more
    )
    return build_temporal_model(chosen, N_IN).eval()


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
        steps, state = head.forward_chunk(part, state)
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
    with pytest.raises(TypeError, match="not causal"):
        build(name, bidirectional=True).forward_chunk(torch.zeros(1, 3, N_IN), None)


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


@pytest.mark.parametrize(("cell", "layer"), [(LstmCell, nn.LSTM), (GruCell, nn.GRU)])
def test_without_norm_they_equal_torchs_layers(cell, layer) -> None:
    torch.manual_seed(1)
    ours, theirs = cell(7, 6, layer_norm=False), layer(7, 6, batch_first=True)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(ours, name).copy_(getattr(theirs, f"{name}_l0"))
    x = torch.randn(3, 11, 7)
    steps, state = run(ours, x)
    expected, last = theirs(x)
    assert torch.allclose(steps, expected, atol=1e-6)
    for mine, other in zip(state, last if isinstance(last, tuple) else (last,), strict=True):
        assert torch.allclose(mine, other[0], atol=1e-6)


@pytest.mark.parametrize("cell", [LstmCell, GruCell])
def test_with_norm_the_size_of_the_input_does_not_matter(cell) -> None:
    torch.manual_seed(1)
    net, x = cell(7, 6, layer_norm=True), torch.randn(3, 11, 7)
    assert torch.allclose(run(net, x)[0], run(net, 50 * x)[0], atol=1e-3)
    plain = cell(7, 6, layer_norm=False)
    assert not torch.allclose(run(plain, x)[0], run(plain, 50 * x)[0], atol=0.1)


def test_an_lstm_begins_by_remembering() -> None:
    assert LstmCell(3, 4, layer_norm=False).bias_ih.tolist() == [0] * 4 + [1] * 4 + [0] * 8


@pytest.mark.parametrize("cell", [LstmCell, GruCell])
def test_recurrent_weights_begin_orthogonal(cell) -> None:
    for gate in cell(3, 8, layer_norm=True).weight_hh.chunk(cell.n_gates):
        assert torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-5)


SMALL_UNITS, BATCH = 16, 64


@pytest.fixture(autouse=True)
def one_thread():
    """Products this small are not worth more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def head_of(name: str):
    torch.manual_seed(0)
    return build_temporal_model(
        ModelSettings(head=name, head_units=SMALL_UNITS, head_layers=1, dropout=0), 2
    )


def marked(n_clips: int, n_steps: int, latest: int):
    """Noise, and in one of the first steps a mark beside its value, −1 or 1: the label."""
    targets = torch.randint(0, 2, (n_clips,))
    x = torch.randn(n_clips, n_steps, 2)
    x[:, :, 1] = 0
    place, clip = torch.randint(0, latest, (n_clips,)), torch.arange(n_clips)
    x[clip, place, 0], x[clip, place, 1] = 2.0 * targets - 1, 1.0
    return x, targets


class Learner:
    """A head and a read-out of its last step, trained on marks anywhere in a clip."""

    def __init__(self, head, n_steps: int) -> None:
        self.head, self.n_steps = head, n_steps
        self.out = nn.Linear(SMALL_UNITS, 2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.head(x, torch.full((x.shape[0],), x.shape[1]))[:, -1])

    def train(self, updates: int, optimizer_of, clip: float) -> list[float]:
        weights = [*self.head.parameters(), *self.out.parameters()]
        optimizer, losses = optimizer_of(weights), []
        for update in range(updates):
            torch.manual_seed(update)
            x, targets = marked(BATCH, self.n_steps, self.n_steps)
            loss = nn.functional.cross_entropy(self.logits(x), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, clip)  # what train.gradient_clip does
            optimizer.step()
            losses.append(loss.item())
        return losses


def stretched():
    """A tanh cell whose recurrent weights stretch: gradients grow with every step back."""
    head = head_of("rnn")
    with torch.no_grad():
        for name, weight in head.named_parameters():
            if "weight_hh" in name:
                weight.mul_(3)
    return head


def gradients(head, n_steps: int) -> torch.Tensor:
    x = 1e-5 * torch.randn(4, n_steps, 2, generator=torch.Generator().manual_seed(0))
    head(x, torch.full((4,), n_steps))[:, -1].sum().backward()
    return torch.cat([p.grad.flatten() for p in head.parameters()])


def test_gradients_explode_through_time_and_clipping_only_shortens_them() -> None:
    short, long = gradients(stretched(), 2), gradients(stretched(), 16)
    assert long.norm() > 100 * short.norm()
    head = stretched()
    before = gradients(head, 16).clone()
    nn.utils.clip_grad_norm_(head.parameters(), 1.0)
    after = torch.cat([p.grad.flatten() for p in head.parameters()])
    assert after.norm().item() == pytest.approx(1.0, rel=1e-3)
    assert nn.functional.cosine_similarity(before, after, dim=0) > 0.9999


def test_a_training_explodes_without_clipping_and_not_with_it() -> None:
    def plain(weights):
        return torch.optim.SGD(weights, lr=1.0)

    free = Learner(stretched(), 10).train(200, plain, clip=1e9)
    clipped = Learner(stretched(), 10).train(200, plain, clip=0.5)
    guessing = 0.69
    assert max(free) > 4 * guessing
    assert max(clipped) < 2 * guessing


def accuracy_on_early_marks(name: str) -> float:
    learner = Learner(head_of(name), 40)
    learner.train(200, lambda weights: torch.optim.Adam(weights, lr=0.02), clip=1.0)
    torch.manual_seed(9)
    x, targets = marked(500, 40, latest=5)
    with torch.no_grad():
        return (learner.logits(x).argmax(dim=1) == targets).double().mean().item()


def test_a_plain_cell_forgets_a_mark_of_35_steps_ago() -> None:
    assert accuracy_on_early_marks("rnn") < 0.65


@pytest.mark.parametrize("name", ["gru", "lstm", "layer_norm_gru", "layer_norm_lstm"])
def test_gates_remember_it(name: str) -> None:
    assert accuracy_on_early_marks(name) > 0.95


@pytest.mark.parametrize("name", CAUSAL)
@settings(deadline=None, max_examples=10)
@given(
    lengths=st.lists(st.integers(1, 15), min_size=1, max_size=3), n_steps=st.integers(1, 16),
    parts=st.lists(st.integers(1, 6), min_size=1, max_size=5),
)  # fmt: skip
def test_a_limited_history_is_a_window_that_ends_with_the_step(
    name: str, lengths: list[int], n_steps: int, parts: list[int]
) -> None:
    inner = build(name).double()
    head = HistoryModel(inner, n_steps)
    x = torch.randn(len(lengths), max(lengths), N_IN, dtype=torch.double)
    steps = head(x, torch.tensor(lengths))
    for row, n in enumerate(lengths):
        assert not steps[row, n:].any()
        for t in range(n):
            window = x[row : row + 1, max(0, t + 1 - n_steps) : t + 1]
            alone = inner(window, torch.tensor([window.shape[1]]))[0, -1]
            assert torch.allclose(steps[row, t], alone, atol=1e-9)
    # in chunks
    x = torch.randn(1, sum(parts), N_IN, dtype=torch.double)
    state, found = None, []
    for part in x.split(parts, dim=1):
        some, state = head.forward_chunk(part, state)
        found.append(some)
    assert torch.allclose(torch.cat(found, dim=1), head(x, torch.tensor([sum(parts)])), atol=1e-9)


def test_a_limited_history_is_for_causal_models() -> None:
    with pytest.raises(ValueError, match="needs a causal temporal model"):
        HistoryModel(build("gru", bidirectional=True), 5)
