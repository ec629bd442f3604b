import torch

from models.modality_branches import Standardise


def test_it_takes_the_scale_of_all_parts_together() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(n, 3) * torch.tensor([1.0, 50.0, 0.0]) + 7 for n in (5, 1, 40)]
    norm, together = Standardise(3), torch.cat(parts)
    norm.fit_statistics(part.half().float() for part in parts)
    scaled = norm(together)
    assert torch.allclose(scaled.mean(0), torch.zeros(3), atol=1e-2)
    assert torch.allclose(scaled.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-2)


def test_without_anything_to_settle_on_it_changes_nothing() -> None:
    norm, x = Standardise(2), torch.randn(4, 2)
    norm.fit_statistics([])
    norm.fit_statistics([torch.zeros(0, 2)])
    assert torch.equal(norm(x), x)
