"""The cells written from their equations against torch's layers."""

import pytest
import torch
from torch import nn

from models.heads.cells import GruCell, LstmCell, run


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
