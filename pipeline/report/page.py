"""What a section of report.html is made from."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.evaluation.evaluate import Evaluation
from pipeline.reporter import ProgressReporter


@dataclass(frozen=True)
class Page:
    """An evaluation to be shown. command: what was typed; empty from Python."""

    evaluation: Evaluation
    config: Config
    progress: ProgressReporter
    command: str = ""
