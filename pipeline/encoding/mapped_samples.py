"""Samples in files that several processes map into memory, once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.encoding.samples import Sample

_FIELDS = ("picture", "sound", "has_picture", "has_sound", "mirrored")


def write_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """One file for each field, clip after clip along the first dimension, and their lengths.

    Frames and JPEGs are not written. Raises OSError where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FIELDS:
        tensors = [_rows(sample, name) for sample in samples]
        ends = np.cumsum([len(tensor) for tensor in tensors])
        np.save(folder / f"{name}_ends.npy", ends)
        first = next((tensor for tensor in tensors if len(tensor)), tensors[0])
        _write_rows(folder / f"{name}.npy", tensors, (int(ends[-1]), *first.shape[1:]), first.dtype)


def _write_rows(
    path: Path, tensors: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """By write, not into a mapped file: where the disk is full, that would end the process."""
    kind = np.lib.format.dtype_to_descr(torch.empty(0, dtype=dtype).numpy().dtype)
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for tensor in tensors:
            if len(tensor):
                assert tensor.dtype == dtype
                file.write(np.ascontiguousarray(tensor.numpy()).data)


def map_samples(folder: Path) -> list[Sample]:
    """What was written, in its order; what is changed in it stays in this process."""
    parts = {name: _mapped(folder, name) for name in _FIELDS}
    return [
        Sample(picture, sound, has_picture, has_sound, mirrored=mirrored if len(mirrored) else None)
        for picture, sound, has_picture, has_sound, mirrored in zip(*parts.values(), strict=True)
    ]


def _rows(sample: Sample, name: str) -> Tensor:
    value: Tensor | None = getattr(sample, name)
    return sample.picture[:0] if value is None else value


def _mapped(folder: Path, name: str) -> list[Tensor]:
    ends = np.load(folder / f"{name}_ends.npy").tolist()
    # copy on write, since torch has no read-only tensors
    whole = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
