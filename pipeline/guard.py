"""framewave's package names are generic: says clearly when another package hides one of ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.errors import UserError


def check_packages() -> None:
    """Raise UserError where `models` or `data_prep` would be imported from somewhere else."""
    home = Path(__file__).resolve().parent.parent
    for name in ("data_prep", "models"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if found != home / name:
            raise UserError(
                f"the package '{name}' is taken from {found}, not from {home / name}; framewave "
                "needs a virtual environment of its own (make setup), and no folder of that name "
                "on PYTHONPATH"
            )
