"""What the network says of a clip: the joint answer, each modality's own, and their average."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Answers:
    """Logits of a batch.

    joint    float [B, K], of picture and sound together
    own      modality → float [B, K], of that modality alone
    present  modality → bool [B], whether the clip has it: an answer about nothing does not count
    """

    joint: Tensor
    own: dict[str, Tensor]
    present: dict[str, Tensor]

    def combined(self) -> Tensor:
        """[B, K]: mean of the log-probabilities of the joint answer and those that count."""
        total = self.joint.log_softmax(dim=-1)
        count = torch.ones_like(total[:, :1])
        for name, logits in self.own.items():
            counts = self.present[name][:, None].to(total.dtype)
            total = total + logits.log_softmax(dim=-1) * counts
            count = count + counts
        return total / count
