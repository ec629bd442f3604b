"""The program: config, stages, evaluation, report, command line; its Python API is exported here.

>>> from pipeline import Classifier
>>> Classifier.load("runs/first").classify(["a.mp4", "folder"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import load_config
    from pipeline.crossval.crossval import crossval as cross_validate
    from pipeline.evaluation.evaluate import evaluate
    from pipeline.inference.classifier import Classifier
    from pipeline.prep.prep import prepare
    from pipeline.report.report import write_report
    from pipeline.reporter import SilentReporter
    from pipeline.training.train import train

__all__ = [
    "Classifier",
    "SilentReporter",
    "cross_validate",
    "evaluate",
    "load_config",
    "prepare",
    "train",
    "write_report",
]

_EXPORTS = {
    "Classifier": "inference.classifier.Classifier",
    "SilentReporter": "reporter.SilentReporter",
    "cross_validate": "crossval.crossval.crossval",
    "evaluate": "evaluation.evaluate.evaluate",
    "load_config": "config.load_config",
    "prepare": "prep.prep.prepare",
    "train": "training.train.train",
    "write_report": "report.report.write_report",
}


def __getattr__(name: str) -> object:
    """Import an export on first access, so that the command line starts without torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    module, _, own_name = _EXPORTS[name].rpartition(".")
    return getattr(import_module(f"pipeline.{module}"), own_name)
