"""Recurrent temporal models: torch's GRU, LSTM and RNN, and layer-norm cells; also bidirectional.

The cells are written from their equations, for layer norm and dropout at each time step, which
torch's layers lack, and as a reference: without norm and dropout they equal torch's layers with the
same weights (tests/test_temporal.py). σ is the logistic function, ⊙ the element-wise product, LN
layer norm (Ba, Kiros and Hinton, 2016); without norm LN(a) = a.

    LSTM (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000)
    i, f, g, o = LN(W x) + LN(U h) + b          input, forget, candidate, output
    c ← σ(f) ⊙ c + σ(i) ⊙ d(tanh g)             d: dropout (Semeniuta et al., 2016)
    h ← σ(o) ⊙ tanh LN(c)

    GRU (Cho et al., 2014, in the form torch computes)
    r, z = σ(LN(W x) + LN(U h) + b)             reset, update
    n = tanh(LN(W_n x) + b_n + r ⊙ (LN(U_n h) + b'_n))
    h ← (1 − z) ⊙ d(n) + z ⊙ h
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.settings import ModelSettings
from models.temporal.base import TemporalModel, TemporalState, reversed_in_length, zero_padding

_KINDS: dict[str, Callable[..., nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class RecurrentModel(TemporalModel):
    """Stacked recurrent layers of torch on packed sequences: padding is never processed.

    Bidirectional layers give each direction half of the units.
    """

    def __init__(
        self,
        kind: str,
        n_features: int,
        n_units: int,
        n_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """kind: gru, lstm or rnn."""
        super().__init__(n_features, n_units)
        self.causal = not bidirectional
        self.rnn = _KINDS[kind](
            n_features,
            n_units // 2 if bidirectional else n_units,
            n_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if n_layers > 1 else 0.0,  # torch warns about it with a single layer
        )
        init_recurrent(self.rnn)

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        # torch requires the lengths on the CPU
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = self.rnn(packed)
        return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0]

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        if not self.causal:
            return super().forward_chunk(x, state)  # raises TypeError
        steps, state = self.rnn(x, state)  # [B, T, units]
        return steps, state


def init_recurrent(rnn: nn.RNNBase) -> None:
    """Orthogonal recurrent matrices, and a forget bias of 1 in an LSTM (Gers et al., 2000).

    Orthogonal matrices preserve the norm of gradients over many steps (Saxe et al., 2014).
    """
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.data.chunk(weight.shape[0] // rnn.hidden_size):  # square matrices
                nn.init.orthogonal_(gate)
        elif name.startswith("bias") and isinstance(rnn, nn.LSTM):
            nn.init.zeros_(weight)
            if name.startswith("bias_ih"):  # torch's gate order: input, forget, cell, output
                nn.init.ones_(weight.data[rnn.hidden_size : 2 * rnn.hidden_size])


CellState = tuple[Tensor, ...]
"""Hidden state h [B, units] of a GRU; h and cell state c of an LSTM."""


class Cell(nn.Module, ABC):
    """One step of one layer. `project` computes the product with the input for all steps at once.

    n_states is the number of tensors in the state, n_gates that of the blocks in the weights.
    """

    n_states: int
    n_gates: int

    def __init__(self, n_in: int, n_units: int, layer_norm: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_units, self.dropout = n_units, nn.Dropout(dropout)
        width = self.n_gates * n_units
        bound = n_units**-0.5  # as in torch's layers
        self.weight_ih = nn.Parameter(torch.empty(width, n_in).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(width, n_units))
        self.bias_ih = nn.Parameter(torch.zeros(width))
        self.bias_hh = nn.Parameter(torch.zeros(width))
        self.norm_x = _norm(width, layer_norm)
        self.norm_h = _norm(width, layer_norm)
        for gate in self.weight_hh.data.chunk(self.n_gates):
            nn.init.orthogonal_(gate)

    def project(self, x: Tensor) -> Tensor:
        """Contribution of the input to the gates: [B, T, D] → [B, T, gates · units]."""
        projected: Tensor = self.norm_x(x @ self.weight_ih.T) + self.bias_ih
        return projected

    def start(self, like: Tensor) -> CellState:
        """The zero state before the first step; batch size, dtype and device as `like`."""
        return tuple(like.new_zeros(like.shape[0], self.n_units) for _ in range(self.n_states))

    @abstractmethod
    def step(self, projected: Tensor, state: CellState) -> CellState:
        """One step: projected input [B, gates · units] and state → next state."""


class LstmCell(Cell):
    """LSTM cell, equations above; gates in torch's order: input, forget, candidate, output."""

    n_states, n_gates = 2, 4

    def __init__(self, n_in: int, n_units: int, layer_norm: bool, dropout: float = 0.0) -> None:
        super().__init__(n_in, n_units, layer_norm, dropout)
        self.norm_c = _norm(n_units, layer_norm)
        nn.init.ones_(self.bias_ih.data[n_units : 2 * n_units])  # forget gate (Gers et al., 2000)

    def step(self, projected: Tensor, state: CellState) -> CellState:
        h, c = state
        gates = projected + self.norm_h(h @ self.weight_hh.T) + self.bias_hh  # [B, 4 · units]
        i, f, g, o = gates.chunk(4, dim=-1)  # [B, units] each
        # dropout on the candidate alone: on the state it would erase memory (Semeniuta et al.)
        c = f.sigmoid() * c + i.sigmoid() * self.dropout(g.tanh())
        return o.sigmoid() * self.norm_c(c).tanh(), c


class GruCell(Cell):
    """GRU cell, equations above; gates in torch's order: reset, update, candidate."""

    n_states, n_gates = 1, 3

    def step(self, projected: Tensor, state: CellState) -> CellState:
        (h,) = state
        recurrent = self.norm_h(h @ self.weight_hh.T) + self.bias_hh  # [B, 3 · units]
        reset_x, update_x, new_x = projected.chunk(3, dim=-1)  # [B, units] each
        reset_h, update_h, new_h = recurrent.chunk(3, dim=-1)
        update = (update_x + update_h).sigmoid()
        new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
        return ((1 - update) * self.dropout(new) + update * h,)


class CellLayer(nn.Module):
    """One layer: a forward cell, and if bidirectional also a backward cell."""

    def __init__(self, make: Callable[[], Cell], bidirectional: bool) -> None:
        super().__init__()
        self.ahead = make()
        self.back = make() if bidirectional else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D], lengths [B] → [B, T, units of all directions]."""
        steps, _ = run(self.ahead, x)  # [B, T, units]
        if self.back is None:
            return steps
        # reversed within each length, so that the backward cell starts at the last valid step
        back, _ = run(self.back, reversed_in_length(x, lengths))
        return torch.cat([steps, reversed_in_length(back, lengths)], dim=-1)  # [B, T, 2 · units]


class CellModel(TemporalModel):
    """Stacked layers of cells.

    dropout: between layers; step_dropout: of the candidate that each step adds to the state.
    Bidirectional layers give each direction half of the units.
    """

    def __init__(
        self,
        make_cell: Callable[[int, int, bool, float], Cell],
        n_features: int,
        n_units: int,
        n_layers: int = 1,
        bidirectional: bool = False,
        layer_norm: bool = True,
        dropout: float = 0.0,
        step_dropout: float = 0.0,
    ) -> None:
        super().__init__(n_features, n_units)
        self.causal = not bidirectional
        cell_units = n_units // 2 if bidirectional else n_units
        widths = [n_features] + [n_units] * (n_layers - 1)
        self.layers = nn.ModuleList(
            CellLayer(
                partial(make_cell, width, cell_units, layer_norm, step_dropout), bidirectional
            )
            for width in widths
        )
        self.layer_dropout = nn.Dropout(dropout)

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        for depth, layer in enumerate(self.layers):
            x = layer(self.layer_dropout(x) if depth else x, lengths)  # [B, T, units]
        return zero_padding(x, lengths)

    def forward_chunk(self, x: Tensor, state: TemporalState | None) -> tuple[Tensor, TemporalState]:
        if not self.causal:
            return super().forward_chunk(x, state)  # raises TypeError
        states: list[CellState] = []
        for depth, layer in enumerate(self.layers):
            assert isinstance(layer, CellLayer)
            x = self.layer_dropout(x) if depth else x
            x, after = run(layer.ahead, x, state[depth] if state else None)
            states.append(after)
        return x, states


def run(cell: Cell, x: Tensor, state: CellState | None = None) -> tuple[Tensor, CellState]:
    """Run a cell over a sequence: [B, T, D] → hidden states [B, T, units], state after the last."""
    state = cell.start(x) if state is None else state
    steps = []
    for projected in cell.project(x).unbind(dim=1):
        state = cell.step(projected, state)
        steps.append(state[0])  # h [B, units]
    return torch.stack(steps, dim=1), state  # [B, T, units]


def _norm(width: int, wanted: bool) -> nn.Module:
    return nn.LayerNorm(width) if wanted else nn.Identity()


_CELLS: dict[str, Callable[[int, int, bool, float], Cell]] = {
    "layer_norm_gru": GruCell,
    "layer_norm_lstm": LstmCell,
}


def build(settings: ModelSettings, n_features: int) -> TemporalModel:
    """model.head=gru, lstm, rnn, layer_norm_gru or layer_norm_lstm."""
    units, layers = settings.head_units, settings.head_layers
    if settings.head in _CELLS:
        return CellModel(
            _CELLS[settings.head], n_features, units, layers, settings.bidirectional,
            dropout=settings.dropout, step_dropout=settings.step_dropout,
        )  # fmt: skip
    return RecurrentModel(
        settings.head, n_features, units, layers, settings.bidirectional, settings.dropout
    )
