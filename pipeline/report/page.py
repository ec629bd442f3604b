"""An evaluation as the sections of report.html get it, and rendering of pages from templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape

from data_prep.files import write_text_atomically
from pipeline import text_format as fmt
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


# gets a non-breaking space, so that the sign stays with its number
_NUMBER_AND_PERCENT = re.compile(r"(?<=\d) %")


def write_page(
    path: Path, template: str, context: Mapping[str, Any], sources: Mapping[str, str] | None = None
) -> None:
    """Render a template and write the page by temporary file and rename.

    sources: templates by name that are not files of this package.
    """
    environment = Environment(
        loader=ChoiceLoader([DictLoader(sources or {}), PackageLoader("pipeline.report")]),
        autoescape=select_autoescape(default=True),  # labels and file names are untrusted text
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=fmt.percent, points=fmt.points, span=fmt.span, gain_span=fmt.gain_span,
        short=fmt.short, duration=fmt.duration, counted=fmt.counted,
        commands=_commands, ends=fmt.ends,
    )  # fmt: skip
    page = environment.get_template(template).render(framewave=version("framewave"), **context)
    write_text_atomically(path, _NUMBER_AND_PERCENT.sub("\u00a0%", page))


def _commands(text: str) -> Markup:
    """The text, HTML-escaped, with `…` as <code>."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped
