"""What a few hundred milliseconds of log-mel bands look like, in numbers that need no training.

Mean, deviation and maximum say which bands are how loud. How much a band changes from one moment to
one 10, 50 or 200 ms later tells a rattle from a hum, and the spectrum's shape is the bands against
their own mean, however loud the sound. On 400 clips of ten sounds logistic regression on all of
them is right in 87 to 90 %, on mean and deviation alone in 81 % (benchmarks/sound_statistics.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.widths import CHANGE_LAGS


def band_statistics(bands: Tensor) -> Tensor:
    """Log power [N, F, M] of F frames → [N, N_BAND_STATISTICS · M].

    A change over more frames than there are is zero.
    """
    shape = bands - bands.mean(dim=2, keepdim=True)
    found = [*moments(bands, 1), bands.amax(dim=1), *moments(shape, 1)]
    n_frames = bands.shape[1]
    for lag in CHANGE_LAGS:
        if lag < n_frames:
            found.append((bands[:, lag:] - bands[:, :-lag]).abs().mean(dim=1))
        else:
            found.append(torch.zeros_like(bands[:, 0]))
    return torch.cat(found, dim=1)


def moments(values: Tensor, dim: int) -> list[Tensor]:
    """Mean and deviation over one dimension, whose slope stays finite where nothing varies."""
    mean = values.mean(dim=dim)
    deviation = ((values - mean.unsqueeze(dim)).square().mean(dim=dim) + 1e-8).sqrt()
    return [mean, deviation]
