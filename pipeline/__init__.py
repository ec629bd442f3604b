"""The program: config, engine, training, evaluation, report, classification, command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier

__all__ = ["Classifier"]


def __getattr__(name: str) -> object:
    """`pipeline.Classifier`, imported when it is asked for: the command line starts without it."""
    if name == "Classifier":
        from pipeline.inference.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
