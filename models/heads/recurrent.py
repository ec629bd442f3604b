"""Torch's own recurrent layers as heads: GRU, LSTM and the plain tanh cell; also in both ways."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.heads.contract import HeadState, TemporalHead

_KINDS: dict[str, Callable[..., nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class RecurrentHead(TemporalHead):
    """Stacked layers, each of which gives its whole sequence to the next. Packed: padding is
    never seen.

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
            dropout=dropout if n_layers > 1 else 0.0,
        )
        init_recurrent(self.rnn)

    def _all_steps(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = self.rnn(packed)
        return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0]

    def advance(self, x: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        if not self.causal:
            return super().advance(x, state)
        steps, state = self.rnn(x, state)
        return steps, state


def init_recurrent(rnn: nn.RNNBase) -> None:
    """Orthogonal recurrent matrices, gate by gate, keep the size of gradients over many steps
    (Saxe et al., 2014); an LSTM begins by remembering: forget bias 1 (Gers et al., 2000)."""
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.data.chunk(weight.shape[0] // rnn.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias") and isinstance(rnn, nn.LSTM):
            nn.init.zeros_(weight)
            if name.startswith("bias_ih"):  # gates in torch's order: input, forget, cell, output
                nn.init.ones_(weight.data[rnn.hidden_size : 2 * rnn.hidden_size])
