"""Shape checks and length masks shared by the modules. Legend: see models/__init__.py."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, expected: tuple[int | str, ...]) -> None:
    """Raise ValueError unless the tensor has this shape; a string matches any size."""
    matches = tensor.ndim == len(expected) and all(
        isinstance(want, str) or want == size
        for want, size in zip(expected, tensor.shape, strict=False)
    )
    if not matches:
        wanted = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must be [{wanted}], got {list(tensor.shape)}")


def length_mask(lengths: Tensor, n_steps: int) -> Tensor:
    """[B] lengths → bool [B, T]: true where the step belongs to the clip, not to padding."""
    check_shape("lengths", lengths, ("B",))
    if lengths.numel() and (int(lengths.min()) < 1 or int(lengths.max()) > n_steps):
        raise ValueError(f"lengths must lie in 1…{n_steps}, got {lengths.tolist()}")
    return torch.arange(n_steps, device=lengths.device)[None, :] < lengths[:, None]
