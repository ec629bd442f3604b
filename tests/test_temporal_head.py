import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.settings import ModelSettings
from models.temporal_head import TemporalHead, last_valid_step


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6), layers=st.integers(1, 3))
def test_all_steps_inside_and_none_depends_on_neighbours(kind: str, lengths, layers: int) -> None:
    torch.manual_seed(0)
    head = TemporalHead(ModelSettings(head=kind, head_units=8, head_layers=layers), 5).eval()
    x = torch.randn(len(lengths), max(lengths), 5)
    steps = head(x, torch.tensor(lengths))
    assert steps.shape == (len(lengths), max(lengths), 8)
    for row, n in enumerate(lengths):
        alone = head(x[row : row + 1, :n], torch.tensor([n]))
        assert torch.allclose(steps[row, :n], alone[0], atol=1e-6)
        assert not steps[row, n:].any()


def test_last_valid_step_is_each_clips_own() -> None:
    steps = torch.arange(24.0).reshape(2, 4, 3)
    assert last_valid_step(steps, torch.tensor([2, 4])).tolist() == [[3, 4, 5], [21, 22, 23]]


def test_wrong_width_is_refused() -> None:
    head = TemporalHead(ModelSettings(head_units=8), 5)
    with pytest.raises(ValueError, match=r"\[B, T, 5\]"):
        head(torch.zeros(1, 3, 4), torch.tensor([3]))
