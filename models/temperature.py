"""How sure the answers should be: one number, fitted on clips that were not trained on."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

_PRIOR_SD = 0.5  # of the temperature's logarithm: a dozen clips, all right, prove no certainty
_WIDEST = math.log(100)


def best_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature that makes these clips' labels most likely (Guo et al., 2017).

    logits [N, K], targets int64 [N]. A weak prior around 1 (log-normal) keeps it finite where few
    clips, or only right answers, would have it go to 0.
    """
    scores = logits.double()

    def cost(log_t: float) -> float:
        loss = nn.functional.cross_entropy(scores / math.exp(log_t), targets, reduction="sum")
        return float(loss) + 0.5 * (log_t / _PRIOR_SD) ** 2

    with torch.no_grad():
        found = minimize_scalar(cost, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return math.exp(float(found.x))
