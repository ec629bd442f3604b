"""Documentation: names of functions exist, and links lead to files."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAME = re.compile(r"`((?:data_prep|models|pipeline)(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def resolve(name: str) -> object:
    """The module, class, function or field of a dotted name. Raises ImportError, AttributeError."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def names() -> list[str]:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    return sorted(set(NAME.findall(text)))


@pytest.mark.parametrize("name", names())
def test_names_in_the_documentation_exist(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
