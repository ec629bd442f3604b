"""What one network of a crossval leaves on disk after some of its epochs: its answers to the clips
that it was not trained on, and its weights where they may be needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_prep.files import replacing
from models.answers import Answers
from pipeline.training.judging import Said

_NET, _SAID, _OWN, _PRESENT, _JOINT = "net.", "said.", "own.", "present.", "joint"


@dataclass(frozen=True)
class FoldFile:
    """A network after an epoch, and what it says of the clips that it was not trained on.

    state: its weights, empty where nothing needs them; ids: of N clips; said: of them,
    empty where there are none.
    """

    state: dict[str, Tensor]
    ids: Sequence[str] = ()
    said: Said = field(default_factory=dict)


def fold_path(folder: Path, epoch: int) -> Path:
    """The file of a network after so many epochs."""
    return folder / f"epoch-{epoch:03d}.safetensors"


def write_fold(path: Path, fold: FoldFile) -> None:
    """Write by temporary file and rename."""
    tensors = _named(_NET, fold.state)
    for situation, answers in fold.said.items():
        parts = _named(_OWN, answers.own) | _named(_PRESENT, answers.present)
        parts[_JOINT] = answers.joint
        tensors |= _named(f"{_SAID}{situation}.", parts)
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
    said = {}
    for situation in {name.partition(".")[0] for name in _part(_SAID, tensors)}:
        parts = _part(f"{_SAID}{situation}.", tensors)
        said[situation] = Answers(parts[_JOINT], _part(_OWN, parts), _part(_PRESENT, parts))
    return FoldFile(_part(_NET, tensors), ids, said)


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
