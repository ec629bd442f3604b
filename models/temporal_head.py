"""Recurrent layers over the time steps, and the separate step from a sequence to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.settings import ModelSettings
from models.shapes import check_shape

HeadState = Tensor | tuple[Tensor, Tensor]
"""What a recurrent layer carries from step to step: h of a GRU, (h, c) of an LSTM."""


class TemporalHead(nn.Module):
    """Stacked GRU or LSTM: [B, T, D] and lengths → all steps [B, T, units].

    Packed, so that padding is never seen; steps past a clip's length come out as zero.
    """

    def __init__(self, settings: ModelSettings, n_features: int) -> None:
        super().__init__()
        self.n_features, self.n_units = n_features, settings.head_units
        kind = nn.GRU if settings.head == "gru" else nn.LSTM
        self.rnn = kind(
            n_features,
            settings.head_units,
            settings.head_layers,
            batch_first=True,
            dropout=settings.dropout if settings.head_layers > 1 else 0.0,
        )
        for name, weight in self.rnn.named_parameters():
            if name.startswith("weight_hh"):  # keeps gradients' size over many steps
                for gate in weight.data.chunk(weight.shape[0] // settings.head_units):
                    nn.init.orthogonal_(gate)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D], lengths [B] in 1…T → [B, T, units]."""
        return self.advance(x, lengths, None)[0]

    def advance(
        self, x: Tensor, lengths: Tensor, state: HeadState | None
    ) -> tuple[Tensor, HeadState]:
        """The same for the next part of a sequence: takes and gives the layers' state."""
        check_shape("temporal head's input", x, ("B", "T", self.n_features))
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, state = self.rnn(packed, state)
        steps, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        check_shape("temporal head's output", steps, (x.shape[0], x.shape[1], self.n_units))
        assert state is not None
        return steps, state


def last_valid_step(steps: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, D] → [B, D]: the output at each clip's own last step."""
    check_shape("steps", steps, ("B", "T", "D"))
    check_shape("lengths", lengths, (steps.shape[0],))
    return steps[torch.arange(steps.shape[0], device=steps.device), lengths.to(steps.device) - 1]
