"""Tasks by name: what a model is asked about a clip."""

from __future__ import annotations

from pipeline.errors import UserError, nearest
from pipeline.tasks.base import Task
from pipeline.tasks.clip_label import ClipLabel

TASKS: dict[str, Task] = {task.name: task for task in (ClipLabel(),)}


def get_task(name: str) -> Task:
    """Raises UserError for an unknown name."""
    if name not in TASKS:
        raise UserError(f"task={name} is no known task.{nearest(name, list(TASKS))}")
    return TASKS[name]
