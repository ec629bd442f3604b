"""Registry of tasks: what a model predicts about a clip."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from pipeline.errors import UserError, nearest
from pipeline.tasks.base import Task

NAMES = ("clip_label",)
"""Modules of this package; each has a TASK with its name."""


@cache
def get_task(name: str) -> Task:
    """The task with this name. Raises UserError for an unknown one."""
    if name not in NAMES:
        raise UserError(
            f"task={name} is not a known task; there {'is' if len(NAMES) == 1 else 'are'} "
            f"{', '.join(NAMES)}.{nearest(name, list(NAMES))}"
        )
    task: Task = import_module(f"pipeline.tasks.{name}").TASK
    return task
