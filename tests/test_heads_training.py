"""What the recurrent toolbox is for: gradients that do not explode, and memory of long ago."""

import pytest
import torch
from torch import nn

from models.heads.build import build_head
from models.settings import ModelSettings

UNITS, BATCH = 16, 64


@pytest.fixture(autouse=True)
def one_thread():
    """Products this small are not worth more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def head_of(name: str):
    torch.manual_seed(0)
    return build_head(ModelSettings(head=name, head_units=UNITS, head_layers=1, dropout=0), 2)


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
        self.out = nn.Linear(UNITS, 2)

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
