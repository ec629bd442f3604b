"""Registry of tasks: what a model predicts about a clip."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from data_prep.settings import TaskSettings
from pipeline.errors import UserError, nearest
from pipeline.tasks.base import Task

NAMES = ("clip_label", "timeline", "forecast", "events")
"""Modules of this package; each has a TASK, the class of the task with its name."""


@cache
def get_task(settings: TaskSettings, step_s: float = 1.0) -> Task:
    """The task of these settings. Raises UserError for an unknown name.

    step_s: length of a time step in s; only targets and tables in time depend on it.
    """
    if settings.name not in NAMES:
        hint = nearest(settings.name, list(NAMES))
        raise UserError(
            f"task={settings.name} is not a known task; there are {', '.join(NAMES)}.{hint}"
        )
    if settings.target is not None and settings.name != "forecast":
        raise UserError(
            f"task.target={settings.target} is for task=forecast, not for task={settings.name}"
        )
    module = settings.name if settings.target is None else "series_forecast"
    build: type[Task] = import_module(f"pipeline.tasks.{module}").TASK
    return build(settings, step_s)
