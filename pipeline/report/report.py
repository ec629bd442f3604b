"""report.html: a self-contained page made from an evaluation, section by section."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config import Config
from pipeline.evaluation.evaluate import Evaluation
from pipeline.report.page import Page, write_page
from pipeline.reporter import ProgressReporter


def section(name: str) -> ModuleType:
    """Import a module of pipeline.report.sections, or another one by its dotted name."""
    return import_module(name if "." in name else f"pipeline.report.sections.{name}")


def write_report(
    path: Path,
    evaluation: Evaluation,
    config: Config,
    progress: ProgressReporter,
    command: str = "",
) -> None:
    """Render the page and write it by temporary file and rename.

    command: the command line; "" from Python.
    """
    page = Page(evaluation, config, progress, command)
    shown: list[str] = []
    nav: list[tuple[str, str]] = []
    context: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in evaluation.task.report_sections:
        module = section(name)
        variables = module.context(page)
        if variables is None:
            continue  # neither a section nor a link to it
        shown.append(name)
        clashes = context.keys() & variables.keys()
        if clashes:  # one namespace for all templates
            raise ValueError(f"section {name} sets {', '.join(sorted(clashes))} again")
        context |= variables
        if hasattr(module, "TEMPLATE"):
            # a section from another package defines its own template
            sources[f"sections/{name}.html.j2"] = module.TEMPLATE
        if module.NAV is not None:
            nav.append(module.NAV)
    # last, so that no section can replace them
    context |= {
        "title": evaluation.run.name,
        "what": evaluation.what,
        "m": evaluation.metrics,
        "files": {clip.row.path: Path(clip.row.path).name for clip in evaluation.clips},
        "sections": shown,
        "nav": nav,
    }
    write_page(path, "report.html.j2", context, sources)
