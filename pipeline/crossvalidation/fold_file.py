"""What one network of a crossval leaves on disk after some of its epochs: its answers to the clips
that it was not trained on, and its weights where they may be needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_prep.files import replacing
from models.answers import Answers

_NET, _OWN, _PRESENT, _JOINT = "net.", "own.", "present.", "joint"


@dataclass(frozen=True)
class FoldFile:
    """A network after an epoch, and what it says of the clips that it was not trained on.

    state: its weights, empty where nothing needs them; ids: of N clips; answers: to them, None
    where there are none.
    """

    state: dict[str, Tensor]
    ids: Sequence[str] = ()
    answers: Answers | None = None


def fold_path(folder: Path, epoch: int) -> Path:
    """The file of a network after so many epochs."""
    return folder / f"epoch-{epoch:03d}.safetensors"


def write_fold(path: Path, fold: FoldFile) -> None:
    """Write by temporary file and rename."""
    tensors = _named(_NET, fold.state)
    if fold.answers is not None:
        tensors |= _named(_OWN, fold.answers.own) | _named(_PRESENT, fold.answers.present)
        tensors[_JOINT] = fold.answers.joint
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, metadata={"ids": json.dumps(list(fold.ids))}))


def read_fold(path: Path) -> FoldFile | None:
    """None where it is not there or damaged: it is made anew."""
    try:
        with safe_open(path, framework="pt") as file:
            ids = json.loads((file.metadata() or {}).get("ids", "[]"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError, ValueError):
        return None
    answers = None
    if ids:
        answers = Answers(tensors[_JOINT], _part(_OWN, tensors), _part(_PRESENT, tensors))
    return FoldFile(_part(_NET, tensors), ids, answers)


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
