import pytest
import torch

from models.temperature import best_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4000, 5) * 3
    targets = torch.distributions.Categorical(logits=logits / true).sample()
    assert best_temperature(logits, targets) == pytest.approx(true, rel=0.06)


def test_few_clips_all_right_prove_no_certainty() -> None:
    logits = torch.tensor([[2.0, 0.0]]).repeat(12, 1)
    found = best_temperature(logits, torch.zeros(12, dtype=torch.int64))
    assert 0.3 < found < 1  # surer, but the most likely temperature alone would be 0
